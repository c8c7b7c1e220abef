import { describe, expect, it } from "vitest";
import { ProcessHealth, type RoleName, unreadyBecause } from "./process-health.ts";
import { ServiceHealth, type ServiceState } from "./service-health.ts";

function scene(role: RoleName) {
  const time = { nowMs: 1_000 };
  const clock = { nowMs: () => time.nowMs };
  const services = new ServiceHealth({ clock });
  const process = new ProcessHealth({ services, version: "1.2.3", clock });
  return { time, services, process, health: process.role(role) };
}

describe("the health of a role", () => {
  it("reports a role with its phase, the services, and the time since the start", () => {
    const { time, services, health } = scene("orchestrator");
    time.nowMs = 4_000;
    services.report("postgres", "up");
    expect(health.report()).toEqual({
      role: "orchestrator",
      version: "1.2.3",
      phase: "starting",
      unready: "It is starting.",
      startedAtMs: 1_000,
      services: [{ service: "postgres", state: "up", sinceMs: 4_000 }],
      atMs: 4_000,
    });
    health.enter("serving");
    expect(health.report().phase).toBe("serving");
    expect(health.report()).not.toHaveProperty("unready");
  });

  it("is kept apart from that of another role in the process", () => {
    const { process } = scene("gateway");
    process.role("gateway").enter("serving");
    expect(process.role("gateway").report().phase).toBe("serving");
    expect(process.role("admin").report()).toMatchObject({ role: "admin", phase: "starting" });
    process.noteStop();
    for (const role of ["gateway", "admin"] as const)
      expect(process.role(role).report().phase).toBe("draining");
  });

  it("is not ready while an operator has drained it, also when that was before the start", () => {
    const { health } = scene("gpu-worker");
    health.noteDrained(true);
    expect(health.report().phase).toBe("starting");
    health.enter("serving");
    expect(health.report()).toMatchObject({ phase: "drained", unready: "An operator has drained it." });
    health.noteDrained(false);
    expect(health.report()).toMatchObject({ phase: "serving" });
    expect(health.report().unready).toBeUndefined();
  });

  it("stays draining when the start ends after the signal", () => {
    const { health } = scene("gpu-worker");
    health.enter("draining");
    health.enter("serving");
    expect(health.report().phase).toBe("draining");
  });
});

describe("a serving role", () => {
  type States = Partial<Record<"postgres" | "temporal" | "redis" | "objects", ServiceState>>;
  const UP = { postgres: "up", temporal: "up", redis: "up", objects: "up" } as const;
  const reason = (role: RoleName, states: States) =>
    unreadyBecause(
      role,
      "serving",
      Object.entries(states).map(([service, state]) => ({ service: service as keyof States, state })),
    );

  it.each(["gateway", "admin", "orchestrator", "gpu-worker"] as const)(
    "is ready when all services are up, and when stores are full: %s",
    (role) => {
      expect(reason(role, UP)).toBeUndefined();
      expect(reason(role, { ...UP, postgres: "full", redis: "full", objects: "full" })).toBeUndefined();
    },
  );

  it.each<[RoleName, States, string | undefined]>([
    ["gateway", { postgres: "away" }, undefined],
    ["gateway", { temporal: "away" }, undefined],
    ["gateway", { redis: "away", objects: "away" }, undefined],
    ["gateway", { postgres: "away", temporal: "away" }, undefined],
    ["gateway", { temporal: "starting" }, undefined],
    ["gateway", { postgres: "starting" }, "PostgreSQL was not reached yet since the start."],
    [
      "gateway",
      { postgres: "away", temporal: "away", redis: "away" },
      "PostgreSQL, Temporal, Redis: none can be reached.",
    ],
    ["admin", { postgres: "away" }, "PostgreSQL cannot be reached."],
    ["admin", { temporal: "away", redis: "away", objects: "away" }, undefined],
    ["orchestrator", { temporal: "away" }, "Temporal cannot be reached."],
    ["orchestrator", { temporal: "starting" }, "Temporal cannot be reached."],
    ["orchestrator", { postgres: "away", redis: "away", objects: "away" }, undefined],
    ["gpu-worker", { temporal: "away" }, "Temporal cannot be reached."],
    ["gpu-worker", { postgres: "away", redis: "away", objects: "away" }, undefined],
  ])("%s with %j: %s", (role, states, expected) => {
    expect(reason(role, { ...UP, ...states })).toBe(expected);
  });

  it("is not ready as a gateway with an event log in memory when PostgreSQL and Temporal are away", () => {
    const states = { postgres: "away", temporal: "away", objects: "up" } as const;
    expect(reason("gateway", states)).toBe("PostgreSQL, Temporal: none can be reached.");
  });
});
