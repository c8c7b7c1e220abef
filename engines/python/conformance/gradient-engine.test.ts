import { fileURLToPath } from "node:url";
import { pythonProgram } from "../../../src/gpu-workers/worker/process/engine-programs.ts";
import { describeEngine } from "../../../tests/conformance/engine/engine-suite.ts";
import { GRADIENT } from "./gradient.fixture.ts";

describeEngine("python", {
  ...GRADIENT,
  program: pythonProgram(fileURLToPath(new URL("../examples/gradient_engine.py", import.meta.url))),
});
