/** The program of the stub engine, started by a GPU worker. */
import { serveEngine } from "../../engine-sdk/engine-server.ts";
import { createStubRunner } from "./stub-runner.ts";

// Not awaited, since the bundle is a script. A start that fails ends the process.
void serveEngine(createStubRunner());
