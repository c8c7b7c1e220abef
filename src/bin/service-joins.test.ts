import { expect, it, vi } from "vitest";
import { TemperaError } from "../core/errors/tempera-error.ts";
import { systemClock } from "../core/operations/clock.ts";
import { ServiceHealth } from "../core/operations/service-health.ts";
import { ServiceJoins } from "./service-joins.ts";

function recordedLog() {
  const lines: string[] = [];
  const write = (_: object, message: string) => void lines.push(message);
  return { lines, log: { debug() {}, info: write, warn: write, error: write } };
}
const away = (why: string) => new TemperaError("store_unavailable", `It cannot be used (${why}).`);

it("logs each failed try, and leaves the gathering to the log", async () => {
  vi.useFakeTimers();
  const { lines, log } = recordedLog();
  const health = new ServiceHealth({ clock: systemClock });
  using joins = new ServiceJoins({ name: "gateway", health, log });
  let tries = 0;
  const opening = joins.join("redis", async () => {
    if (++tries < 3) throw away("ECONNREFUSED");
  });
  await vi.runAllTimersAsync();
  await opening.ready;
  vi.useRealTimers();
  const waits = "gateway waits for Redis: It cannot be used (ECONNREFUSED).";
  expect(lines.slice(0, -1)).toEqual([waits, waits]);
});

it("names what is awaited, reports what has come, and gives the error meanwhile", async () => {
  const { lines, log } = recordedLog();
  const health = new ServiceHealth({ clock: systemClock });
  using joins = new ServiceJoins({ name: "gateway", health, log });
  const answers = [away("ECONNREFUSED"), "database"];
  const database = joins.join("postgres", async () => {
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    return answer;
  });
  const never = new Promise<never>(() => {});
  joins.join("temporal", () => never);
  expect(joins.errorOf("temporal")).toMatchObject({ code: "temporal_unavailable" });
  await database.firstTry;
  expect(joins.awaited).toBe("PostgreSQL and Temporal");
  expect(joins.errorOf("postgres")).toMatchObject({ message: "It cannot be used (ECONNREFUSED)." });
  expect(await database.ready).toBe("database");
  expect(joins.awaited).toBe("Temporal");
  expect(health.list().map(({ service, state }) => [service, state])).toEqual([
    ["postgres", "up"],
    ["temporal", "starting"],
  ]);
  expect(lines).toEqual([
    "gateway waits for PostgreSQL: It cannot be used (ECONNREFUSED).",
    expect.stringMatching(/^gateway has joined PostgreSQL after \d+ s$/),
  ]);
});

it("does not wait where waiting cannot help", async () => {
  const { log } = recordedLog();
  using joins = new ServiceJoins({ name: "gateway", health: new ServiceHealth({ clock: systemClock }), log });
  const error = new Error("S3_ENDPOINT is no address");
  joins.join("objects", () => Promise.reject(error));
  await expect(joins.firstTries()).rejects.toBe(error);
});

it("does not wait for a service that the process needs", async () => {
  const { log } = recordedLog();
  const health = new ServiceHealth({ clock: systemClock });
  using joins = new ServiceJoins({ name: "npm start", health, log, needed: ["postgres"] });
  const error = away("ECONNREFUSED");
  joins.join("postgres", () => Promise.reject(error));
  await expect(joins.joined("postgres")).rejects.toBe(error);
  await expect(joins.joined("objects")).resolves.toBeUndefined();
  await expect(joins.firstTries()).rejects.toBe(error);
});
