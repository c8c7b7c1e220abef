import { mkdir } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { findProgram, type Program } from "./program.ts";
import { aptInstall } from "./program-sources.ts";
import { choosePort, type Service, type ServiceOptions, startProcess } from "./service.ts";

export const REDIS_SERVER: Program = {
  title: "Redis",
  binary: "redis-server",
  variable: "REDIS_SERVER",
  methods: [aptInstall("redis-server", "/usr/bin/redis-server")],
  remedy: "install Redis 7 or newer with your package manager (for example `apt-get install redis-server`)",
};

/**
 * Starts Redis with its state in `folder`, every write on disk within a second (`appendfsync everysec`).
 *
 * Rejects with `setup_failed`.
 */
export async function startRedis(options: ServiceOptions): Promise<Service> {
  const command = await findProgram(REDIS_SERVER, options);
  const port = await choosePort(options.port);
  await mkdir(options.folder, { recursive: true });
  return startProcess({
    name: "Redis",
    command,
    args: [
      ...["--port", String(port), "--bind", "127.0.0.1", "--dir", options.folder],
      ...["--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--daemonize", "no"],
    ],
    url: `redis://127.0.0.1:${port}`,
    port,
    portVariable: "TEMPERA_REDIS_PORT",
    logFile: join(options.folder, "redis.log"),
    stopSignal: "SIGTERM",
    readyWithinMs: 30_000,
    isReady: () => answersPing(port),
  });
}

/** Returns whether Redis replies to a PING. While it reads its log from disk, it replies `-LOADING`. */
function answersPing(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("PING\r\n"));
    socket.setTimeout(1_000, () => socket.destroy());
    socket.once("data", (answer) => {
      resolve(answer.toString().startsWith("+PONG"));
      socket.destroy();
    });
    socket.once("error", () => resolve(false));
    socket.once("close", () => resolve(false));
  });
}
