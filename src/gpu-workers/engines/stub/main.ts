import { serveEngine } from "../../engine-sdk/engine-server.ts";
import { createStubRunner } from "./stub-runner.ts";

// Not awaited: the bundle is a script. A start that fails ends the process.
void serveEngine(createStubRunner());
