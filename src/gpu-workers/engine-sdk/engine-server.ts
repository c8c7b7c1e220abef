/**
 * Serves `engine.proto` for a runner written in TypeScript. Both built-in engines are a `Runner` and one call
 * of `serveEngine`.
 *
 * This folder: `runner.ts` is the interface to implement, `engine-service.ts` answers the calls,
 * `run-emitter.ts` sends what a run produces, `session-server.ts` serves the frames of a realtime session.
 */
import * as grpc from "@grpc/grpc-js";
import { ENGINE_SERVICE, MESSAGE_LIMITS } from "../contract/engine-protocol.ts";
import { EngineService } from "./engine-service.ts";
import type { Runner } from "./runner.ts";

/**
 * Serves the runner on a Unix socket until stdin ends: then the GPU worker is gone, and this process exits.
 *
 * @param socket path of the socket; the last argument of the command line by default
 */
export async function serveEngine(runner: Runner, socket: string = process.argv.at(-1) ?? ""): Promise<void> {
  const server = new grpc.Server(MESSAGE_LIMITS);
  server.addService(ENGINE_SERVICE, new EngineService(runner).handlers());
  exitWithParent();
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${socket}`, grpc.ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    ),
  );
}

function exitWithParent(): void {
  const exit = () => process.exit(0);
  process.stdin.on("end", exit).on("close", exit).on("error", exit).resume();
}
