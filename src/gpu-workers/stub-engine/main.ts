import { serveEngine } from "../engine-server.ts";
import { createStubRunner } from "./stub-runner.ts";

await serveEngine(createStubRunner());
