import { fileURLToPath } from "node:url";
import { pythonProgram } from "../../../src/gpu-workers/worker/process/engine-programs.ts";
import { describeEngine } from "../../../tests/conformance/engine/engine-suite.ts";
import { GRADIENT } from "./gradient.fixture.ts";

describeEngine("typed python", {
  ...GRADIENT,
  program: pythonProgram(fileURLToPath(new URL("../tests/typed_gradient.py", import.meta.url))),
});
