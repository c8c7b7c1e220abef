import { describe, expect, it } from "vitest";
import { Circuit } from "./circuit.ts";

interface Deferred {
  promise: Promise<void>;
  resolve(): void;
  reject(error: Error): void;
}
function deferred(): Deferred {
  let settle: Omit<Deferred, "promise"> | undefined;
  const promise = new Promise<void>((resolve, reject) => {
    settle = { resolve, reject };
  });
  return { promise, ...(settle as Omit<Deferred, "promise">) };
}

/** A service whose answers and probes a test settles by hand. */
function service() {
  const probes: Deferred[] = [];
  const pauses: Deferred[] = [];
  let sent = 0;
  const circuit = new Circuit({
    probe: () => {
      const probe = deferred();
      probes.push(probe);
      return probe.promise;
    },
    pause: () => {
      const pause = deferred();
      pauses.push(pause);
      return pause.promise;
    },
    isOutage: (error) => (error as Error).message === "no answer",
    refusal: () => new Error("refused"),
  });
  const fails = (message: string) => circuit.run(() => Promise.reject(new Error(message))).catch(String);
  const call = () =>
    circuit
      .run(async () => {
        sent++;
        return "answer";
      })
      .catch(String);
  return { circuit, probes, pauses, fails, call, sent: () => sent };
}
const turn = () => new Promise((next) => setImmediate(next));

describe("a circuit", () => {
  it("stays closed after one slow call when the probe is answered", async () => {
    const { probes, fails, call, circuit } = service();
    expect(await fails("no answer")).toBe("Error: no answer");
    expect(await call()).toBe("answer");
    probes[0]?.resolve();
    await turn();
    expect(circuit.isOpen).toBe(false);
    expect(await call()).toBe("answer");
    expect(probes).toHaveLength(1);
  });

  it("refuses calls while the service is away, and probes one at a time until it is back", async () => {
    const { probes, pauses, fails, call, sent } = service();
    await Promise.all([fails("no answer"), fails("no answer"), fails("no answer")]);
    expect(probes).toHaveLength(1);
    probes[0]?.reject(new Error("away"));
    await turn();
    expect(await call()).toBe("Error: refused");
    expect(await fails("never sent")).toBe("Error: refused");
    expect(sent()).toBe(0);
    pauses[0]?.resolve();
    await turn();
    expect(probes).toHaveLength(2);
    expect(await call()).toBe("Error: refused");
    probes[1]?.resolve();
    await turn();
    expect(await call()).toBe("answer");
  });

  it("takes an error that the service answered for an answer", async () => {
    const { probes, fails } = service();
    expect(await fails("not found")).toBe("Error: not found");
    expect(probes).toHaveLength(0);
  });

  it("probes no more once it is disposed of", async () => {
    const { circuit, probes, pauses, fails } = service();
    await fails("no answer");
    probes[0]?.reject(new Error("away"));
    await turn();
    circuit[Symbol.dispose]();
    pauses[0]?.resolve();
    await turn();
    expect(probes).toHaveLength(1);
  });
});
