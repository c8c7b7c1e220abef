import { expect, test } from "vitest";
import type { EngineView } from "../../../api/admin/routes/engines/engines.ts";
import { engineFinding } from "./doctor.ts";

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
