import { expect, test } from "vitest";
import type { EngineView } from "../../../api/admin/routes/engines/engines.ts";
import type { HealthView } from "../../../api/health/routes.ts";
import {
  engineFinding,
  isolationFinding,
  originFinding,
  platformFinding,
  programFindings,
  serviceFindings,
} from "./doctor.ts";

const engine = (change: Partial<EngineView>): EngineView => ({
  endpoint_id: "acme/echo",
  version: "1.0.0",
  worker: "worker-1",
  device: "cpu",
  state: "ready",
  drained: false,
  polled: true,
  pid: 1,
  memory_mib: 50,
  budget_mib: 1000,
  running: 0,
  waiting: 0,
  failures: 0,
  last_failure: null,
  reported_seconds_ago: 0,
  ...change,
});

test("names unhealthy engines with their last failure and the remedy", () => {
  const last_failure = "The engine could not be loaded: no such file";
  expect(engineFinding([engine({}), engine({ state: "unhealthy", version: "2.0.0", last_failure })])).toEqual(
    {
      state: "note",
      message: `unhealthy, takes no requests: acme/echo 2.0.0 on worker-1 (${last_failure})`,
      remedy: "mend the cause, then `npx tempera engines reset acme/echo`",
    },
  );
});

test("counts the models that are served otherwise", () => {
  expect(engineFinding([engine({}), engine({ version: "2.0.0", state: "stopped" })])).toEqual({
    state: "ok",
    message: "2 models served",
  });
});

const health = (change: Partial<HealthView>): HealthView => ({
  status: "ok",
  role: "gateway",
  version: "1.2.3",
  phase: "serving",
  started_at: "2026-01-01T00:00:00.000Z",
  uptime_seconds: 3 * 3600 + 5 * 60 + 7,
  services: [],
  ...change,
});

test("says that a gateway takes calls, and for how long", () => {
  expect(platformFinding("http://here", health({ status: "degraded" }))).toEqual({
    state: "ok",
    message: "gateway 1.2.3 at http://here, up for 3 h 5 min",
  });
});

test("says why a gateway takes no calls", () => {
  const unready = health({
    status: "unready",
    reason: "It is draining.",
    phase: "draining",
    uptime_seconds: 0,
  });
  expect(platformFinding("http://here", unready)).toEqual({
    state: "note",
    message: "gateway 1.2.3 at http://here, up for 0 s; takes no calls: It is draining.",
  });
});

test("gives the state of each service, since when and why", () => {
  const since = "2026-01-01T00:00:00.000Z";
  const services = [
    { service: "postgres", state: "up", since, for_seconds: 2 * 86_400 + 30 },
    { service: "redis", state: "full", since, for_seconds: 59, detail: "Redis has no memory left (OOM)" },
  ] as const;
  expect(serviceFindings(health({ services: [...services] }))).toEqual([
    { state: "ok", message: `PostgreSQL: up for 2 d, since ${since}` },
    { state: "note", message: `Redis: full for 59 s, since ${since} (Redis has no memory left (OOM))` },
  ]);
});

test.each([[{ host: "0.0.0.0" }], [{ host: "127.0.0.1", publicUrl: "https://inference.example.com" }]])(
  "notes that files are served on the origin of the API where others reach it: %j",
  (server) => {
    const found = { publicUrl: undefined, filesUrl: undefined, ...server };
    expect(originFinding(found)).toMatchObject({
      state: "note",
      remedy: expect.stringContaining("TEMPERA_FILES_URL"),
    });
    expect(originFinding({ ...found, filesUrl: "https://files.example.com" })?.state).toBe("ok");
  },
);

test.each([undefined, "http://localhost:8080", "http://[::1]:8080"])(
  "asks for no origin of files on the machine alone: %s",
  (publicUrl) => expect(originFinding({ host: "127.0.0.1", publicUrl, filesUrl: undefined })).toBeUndefined(),
);

test("names the layers of isolation that a host lacks, with the remedy", () => {
  const layers = { namespaces: false, user: true, landlock: true, seccomp: true, limits: true };
  const lacking = { layers, missing: [{ layer: "namespaces", reason: "EPERM", remedy: "permit them" }] };
  const found = {
    message:
      "engines are isolated by a user of its own, Landlock, seccomp, limits and no privileges; " +
      "missing: namespaces (EPERM)",
    remedy: "namespaces: permit them",
  };
  expect(isolationFinding(lacking, false)).toEqual({ state: "note", ...found });
  expect(isolationFinding(lacking, true)).toEqual({ state: "missing", ...found });
  expect(isolationFinding({ layers, missing: [] }, true)).toMatchObject({ state: "ok" });
});

test("names the engines of the configuration, and a program that is missing on this machine", () => {
  const engine = { args: [], environment: [], readable: [], devices: [] };
  const found = programFindings({
    node: { ...engine, command: process.execPath, args: ["/opt/engine.mjs"] },
    gone: { ...engine, command: "/no/such/engine" },
    closed: { ...engine, command: import.meta.filename },
  });
  expect(found).toEqual([
    { state: "ok", message: `node: ${process.execPath} /opt/engine.mjs` },
    {
      state: "note",
      message: "engines.programs.gone.command: /no/such/engine is no file on this machine",
      remedy: "install the engine, or correct the path",
    },
    {
      state: "note",
      message: `engines.programs.closed.command: ${import.meta.filename} is not executable`,
      remedy: "`chmod +x` it, or name its interpreter as the command",
    },
  ]);
});
