/** The program of the ONNX engine, started by a GPU worker. */
import { serveEngine } from "../../engine-sdk/engine-server.ts";
import { createOnnxRunner } from "./onnx-runner.ts";

// Not awaited, since the bundle is a script. A start that fails ends the process.
void serveEngine(createOnnxRunner());
