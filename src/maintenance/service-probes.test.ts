import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { storeFull } from "../core/errors/store-failure.ts";
import { TemperaError } from "../core/errors/tempera-error.ts";
import { LIMITS } from "../core/limits.ts";
import { ServiceHealth } from "../core/operations/service-health.ts";
import { checkObjects, reasonOf, ServiceProbes } from "./service-probes.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Probes of PostgreSQL and an object store, each of which answers as the test says. */
function scene() {
  const services = new ServiceHealth({ clock: { nowMs: () => Date.now() } });
  const logged: string[] = [];
  const write = (level: string) => (_fields: object, message: string) =>
    void logged.push(`${level}: ${message}`);
  const log = { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
  const answers = {
    postgres: (): Promise<unknown> => Promise.resolve(),
    objects: (): Promise<unknown> => Promise.resolve(),
  };
  const calls = { postgres: 0, objects: 0 };
  const call = (name: "postgres" | "objects") => () => {
    calls[name]++;
    return answers[name]();
  };
  const start = () =>
    new ServiceProbes({ services, log, checks: { postgres: call("postgres"), objects: call("objects") } });
  const states = () => Object.fromEntries(services.list().map(({ service, state }) => [service, state]));
  return { services, logged, answers, calls, start, states };
}

const refused = () =>
  Promise.reject(
    new TemperaError("store_unavailable", "PostgreSQL at secret.host:5432 cannot be used", {
      cause: Object.assign(new Error("connect ECONNREFUSED 10.0.0.7:5432"), { code: "ECONNREFUSED" }),
    }),
  );
const full = () =>
  Promise.reject(storeFull("object store", "has no space left (ENOSPC)", "free some", undefined));
const silent = () => new Promise<never>(() => {});

describe("ServiceProbes", () => {
  it("reports what each probe found, from the start on", async () => {
    const { answers, start, states } = scene();
    answers.objects = full;
    const probes = start();
    await vi.advanceTimersByTimeAsync(0);
    expect(states()).toEqual({ postgres: "up", objects: "full" });
    await probes.stop();
  });

  it("keeps a service that was not reached since the start apart from one that went away", async () => {
    const { answers, start, services } = scene();
    answers.postgres = refused;
    const probes = start();
    await vi.advanceTimersByTimeAsync(0);
    expect(services.list()).toContainEqual(
      expect.objectContaining({ service: "postgres", state: "starting", detail: "refuses connections" }),
    );
    answers.postgres = () => Promise.resolve();
    await vi.advanceTimersByTimeAsync(LIMITS.probeMs);
    answers.postgres = refused;
    await vi.advanceTimersByTimeAsync(LIMITS.probeMs);
    expect(services.list()).toContainEqual({
      service: "postgres",
      state: "away",
      detail: "refuses connections",
      sinceMs: Date.now(),
    });
    await probes.stop();
  });

  it("counts a probe without an answer as away, and sends no second one meanwhile", async () => {
    const { answers, calls, start, states, services } = scene();
    const probes = start();
    await vi.advanceTimersByTimeAsync(0);
    answers.postgres = silent;
    await vi.advanceTimersByTimeAsync(LIMITS.probeMs + LIMITS.probeAnswerMs);
    expect(states().postgres).toBe("away");
    expect(services.list().find(({ service }) => service === "postgres")?.detail).toBe("does not answer");
    await vi.advanceTimersByTimeAsync(10 * LIMITS.probeMs);
    expect(calls.postgres).toBe(2);
    await probes.stop();
  });

  it("takes a late answer", async () => {
    const { answers, start, states } = scene();
    let settle = () => {};
    answers.postgres = () =>
      new Promise<void>((resolve) => {
        settle = resolve;
      });
    const probes = start();
    await vi.advanceTimersByTimeAsync(LIMITS.probeAnswerMs);
    expect(states().postgres).toBe("starting");
    settle();
    await vi.advanceTimersByTimeAsync(0);
    expect(states().postgres).toBe("up");
    await probes.stop();
  });

  it("probes an object store that is up seldom, and one that is not as often as the others", async () => {
    const { answers, calls, start } = scene();
    const probes = start();
    await vi.advanceTimersByTimeAsync(2 * LIMITS.objectProbeMs - 1);
    expect(calls).toEqual({ postgres: (2 * LIMITS.objectProbeMs) / LIMITS.probeMs, objects: 2 });
    answers.objects = full;
    await vi.advanceTimersByTimeAsync(1);
    expect(calls.objects).toBe(3);
    await vi.advanceTimersByTimeAsync(2 * LIMITS.probeMs);
    expect(calls.objects).toBe(5);
    await probes.stop();
  });

  it("logs each change once", async () => {
    const { answers, logged, start } = scene();
    const probes = start();
    await vi.advanceTimersByTimeAsync(0);
    answers.postgres = refused;
    await vi.advanceTimersByTimeAsync(3 * LIMITS.probeMs);
    answers.postgres = () => Promise.resolve();
    await vi.advanceTimersByTimeAsync(3 * LIMITS.probeMs);
    expect(logged).toEqual(["warn: PostgreSQL cannot be used", "info: PostgreSQL can be used again"]);
    await probes.stop();
  });

  it("sends no probe after stop", async () => {
    const { calls, start } = scene();
    await start().stop();
    await vi.advanceTimersByTimeAsync(10 * LIMITS.probeMs);
    expect(calls).toEqual({ postgres: 1, objects: 1 });
  });
});

describe("reasonOf", () => {
  it.each([
    [Object.assign(new Error("x"), { code: "28P01" }), "refuses the login"],
    [
      new Error("Redis at host:6379 cannot be used: connect ECONNREFUSED 10.0.0.7:6379"),
      "refuses connections",
    ],
    [Object.assign(new Error("x"), { code: "NoSuchBucket" }), "lacks the bucket"],
    [new TemperaError("temporal_unavailable"), "does not answer"],
    [
      new Error("outer", { cause: Object.assign(new Error("x"), { code: "53300" }) }),
      "has no free connection",
    ],
    [new Error("postgres://user:secret@host/db went wrong"), "cannot be used"],
    ["a text", "cannot be used"],
    [
      new TemperaError("store_unavailable", "PostgreSQL at db:28000 cannot be used", {
        cause: Object.assign(new Error("the database system is starting up"), { code: "57P03" }),
      }),
      "is starting up",
    ],
    [new Error("connect to db:53300 went wrong"), "cannot be used"],
    [new Error("The S3 server at s3:28000 answered 500 (3D000)"), "cannot be used"],
  ])("%s: %s", (error, reason) => expect(reasonOf(error)).toBe(reason));
});

it("checks an object store by putting one small object, always the same", async () => {
  const put = vi.fn(async (_key: string, body: unknown, { bytes }: { bytes: number }) => {
    expect((body as Buffer).length).toBe(bytes);
  });
  await checkObjects({ put });
  await checkObjects({ put });
  expect(put.mock.calls[0]).toEqual(put.mock.calls[1]);
});
