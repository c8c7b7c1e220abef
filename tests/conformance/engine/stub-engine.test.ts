import {
  ENGINE_PROGRAMS,
  type EngineProgram,
} from "../../../src/gpu-workers/worker/process/engine-programs.ts";
import { describeEngine } from "./engine-suite.ts";

describeEngine("stub", {
  program: ENGINE_PROGRAMS.stub as EngineProgram,
  load: {
    endpoint: "tempera/stub",
    version: "1.0.0",
    runner: "stub",
    folder: import.meta.dirname,
    parametersJson: "{}",
    slots: 4,
  },
  inputs: {
    quick: { seed: 3, steps: 2, artifact_bytes: 600_000 },
    previewed: { previews: true },
    checkpointed: { steps: 6 },
    slow: { delay_ms: 5000, steps: 100 },
    bad: { delay_ms: "soon" },
  },
  session: { quick: { prompt: "echo" }, slow: { delay_ms: 5000 }, bad: { delay_ms: "soon" } },
});
