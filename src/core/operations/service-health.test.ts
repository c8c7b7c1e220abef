import { describe, expect, it } from "vitest";
import { ServiceHealth, type ServiceReport } from "./service-health.ts";

function scene() {
  let nowMs = 1_000;
  const health = new ServiceHealth({ clock: { nowMs: () => nowMs } });
  const notified: ServiceReport[] = [];
  const stop = health.onChange((report) => notified.push(report));
  const pass = (ms: number) => {
    nowMs += ms;
  };
  return { health, notified, stop, pass };
}

describe("ServiceHealth", () => {
  it("lists each reported service with the time at which its state began", () => {
    const { health, pass } = scene();
    expect(health.list()).toEqual([]);
    health.report("postgres", "starting");
    pass(500);
    health.report("redis", "full", "maxmemory is reached");
    pass(500);
    health.report("postgres", "up");
    expect(health.list()).toEqual([
      { service: "postgres", state: "up", sinceMs: 2_000 },
      { service: "redis", state: "full", sinceMs: 1_500, detail: "maxmemory is reached" },
    ]);
  });

  it("keeps the time of a repeated state and takes its new detail", () => {
    const { health, pass } = scene();
    health.report("temporal", "away", "refused");
    pass(5_000);
    health.report("temporal", "away", "no answer");
    expect(health.list()).toEqual([
      { service: "temporal", state: "away", sinceMs: 1_000, detail: "no answer" },
    ]);
    health.report("temporal", "away");
    expect(health.list()).toEqual([{ service: "temporal", state: "away", sinceMs: 1_000 }]);
  });

  it("tells listeners each new state once, until they stop", () => {
    const { health, notified, stop } = scene();
    health.report("objects", "up");
    health.report("objects", "up");
    health.report("objects", "full", "no space");
    expect(notified.map(({ service, state }) => `${service} ${state}`)).toEqual([
      "objects up",
      "objects full",
    ]);
    stop();
    health.report("objects", "up");
    expect(notified).toHaveLength(2);
  });
});
