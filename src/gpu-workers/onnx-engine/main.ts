import { serveEngine } from "../engine-server.ts";
import { createOnnxRunner } from "./onnx-runner.ts";

await serveEngine(createOnnxRunner());
