import { expect, it, vi } from "vitest";
import { TemperaError } from "../core/errors/tempera-error.ts";
import { systemClock } from "../core/operations/clock.ts";
import { ServiceHealth } from "../core/operations/service-health.ts";
import { createWarning, ServiceJoins } from "./service-joins.ts";

function recordedLog() {
  const lines: string[] = [];
  const write = (_: object, message: string) => void lines.push(message);
  return { lines, log: { debug() {}, info: write, warn: write, error: write } };
}
const away = (why: string) => new TemperaError("store_unavailable", `It cannot be used (${why}).`);

it("warns of a reason at once, of the same one again only after a minute, and counts the tries", () => {
  const clock = vi.spyOn(performance, "now").mockReturnValue(0);
  const warnings: object[] = [];
  const { log } = recordedLog();
  const warn = createWarning(
    { ...log, warn: (fields, message) => void warnings.push({ ...fields, message }) },
    "it waits",
  );
  for (const [atMs, reason] of [
    [0, "a"],
    [1_000, "a"],
    [2_000, "b"],
    [61_000, "b"],
    [62_000, "b"],
  ] as const) {
    clock.mockReturnValue(atMs);
    warn(reason);
  }
  clock.mockRestore();
  expect(warnings).toEqual([
    { message: "it waits: a" },
    { tries: 3, message: "it waits: b" },
    { tries: 5, message: "it waits: b" },
  ]);
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
