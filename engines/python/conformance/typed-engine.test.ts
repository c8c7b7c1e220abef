import { fileURLToPath } from "node:url";
import { pythonProgram } from "../../../src/gpu-workers/worker/process/engine-programs.ts";
import { describeEngine } from "../../../tests/conformance/engine/engine-suite.ts";

describeEngine("typed python", {
  program: pythonProgram(fileURLToPath(new URL("../tests/typed_gradient.py", import.meta.url))),
  load: {
    endpoint: "tempera/gradient",
    version: "1.0.0",
    runner: "gradient",
    folder: import.meta.dirname,
    parametersJson: '{"tint": [0.4, 0.7, 1]}',
    slots: 4,
  },
  inputs: {
    quick: { side: 500, seed: 3 },
    previewed: { side: 64 },
    checkpointed: { side: 64 },
    slow: { side: 200, delay_ms: 5000 },
    bad: { side: "wide" },
  },
});
