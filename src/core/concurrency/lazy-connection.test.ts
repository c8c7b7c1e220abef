import { describe, expect, it } from "vitest";
import { TemperaError } from "../errors/tempera-error.ts";
import { LazyConnection } from "./lazy-connection.ts";

const away = () => new TemperaError("store_unavailable", "The store is away.");

describe("a lazy connection", () => {
  it("is tried until it opens, and reports each failure and the success", async () => {
    const calls: string[] = [];
    const pauses: number[] = [];
    const outcomes = [away(), new TemperaError("temporal_unavailable"), "open"];
    using connection = new LazyConnection({
      open: async () => {
        const outcome = outcomes.shift();
        if (outcome instanceof Error) throw outcome;
        return outcome;
      },
      onFailure: (error) => calls.push((error as TemperaError).code),
      onOpen: (value) => calls.push(String(value)),
      pause: async (tries) => void pauses.push(tries),
    });
    expect(connection.current).toBeUndefined();
    expect(await connection.ready).toBe("open");
    expect(connection.current).toBe("open");
    expect(calls).toEqual(["store_unavailable", "temporal_unavailable", "open"]);
    expect(pauses).toEqual([1, 2]);
  });

  it("ends its first try in success and in failure", async () => {
    using open = new LazyConnection({ open: async () => 1 });
    await open.firstTry;
    expect(open.current).toBe(1);
    using waiting = new LazyConnection({ open: () => Promise.reject(away()) });
    await waiting.firstTry;
    expect(waiting.current).toBeUndefined();
  });

  it("gives up at an error that waiting does not cure", async () => {
    const error = new Error("TEMPERA_PAYLOAD_KEYS lacks a key");
    using connection = new LazyConnection({ open: () => Promise.reject(error) });
    await connection.firstTry;
    expect(connection.fault).toBe(error);
    await expect(connection.ready).rejects.toBe(error);
  });

  it("tries no more after its disposal", async () => {
    let tries = 0;
    const connection = new LazyConnection({
      open: () => {
        tries++;
        return Promise.reject(away());
      },
    });
    await connection.firstTry;
    connection[Symbol.dispose]();
    await expect(connection.ready).rejects.toThrow("no longer wanted");
    expect(tries).toBe(1);
  });

  it("is closed and not reported when it opens after the disposal", async () => {
    const calls: string[] = [];
    const connection: LazyConnection<string> = new LazyConnection({
      open: async () => {
        await Promise.resolve();
        connection[Symbol.dispose]();
        return "open";
      },
      onOpen: (value) => calls.push(`reported: ${value}`),
      close: async (value) => void calls.push(`closed: ${value}`),
    });
    await expect(connection.ready).rejects.toThrow("no longer wanted");
    expect(calls).toEqual(["closed: open"]);
    expect(connection.isOpen).toBe(false);
    expect(connection.fault).toBeUndefined();
  });

  it("does not report a try that fails after the disposal", async () => {
    const reported: unknown[] = [];
    const connection: LazyConnection<string> = new LazyConnection({
      open: async () => {
        await Promise.resolve();
        connection[Symbol.dispose]();
        throw away();
      },
      onFailure: (error) => reported.push(error),
    });
    await expect(connection.ready).rejects.toThrow("no longer wanted");
    expect(reported).toEqual([]);
  });
});
