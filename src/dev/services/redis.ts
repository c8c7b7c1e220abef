import { chmod, mkdir, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { servicePassword } from "./password.ts";
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

/** Resolves with the address of the server in a folder, which need not run. */
export async function redisUrl({ folder, port }: { folder: string; port: number }): Promise<string> {
  return `redis://:${await servicePassword(folder)}@127.0.0.1:${port}`;
}

/**
 * Starts Redis with its state in `folder`, every write on disk within a second (`appendfsync everysec`). It
 * wants a password.
 *
 * Rejects with `setup_failed`.
 */
export async function startRedis(options: ServiceOptions): Promise<Service> {
  const command = await findProgram(REDIS_SERVER, options);
  const port = await choosePort(options.port);
  const { folder } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await chmod(folder, 0o700);
  const password = await servicePassword(folder);
  // Everybody can read the command line of a process.
  const configuration = join(folder, "redis.conf");
  await writeFile(configuration, `requirepass ${password}\n`, { mode: 0o600 });
  return startProcess({
    name: "Redis",
    command,
    args: [
      ...[configuration, "--port", String(port), "--bind", "127.0.0.1", "--dir", folder],
      ...["--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--daemonize", "no"],
    ],
    url: await redisUrl({ folder, port }),
    port,
    portVariable: "TEMPERA_REDIS_PORT",
    logFile: join(folder, "redis.log"),
    stopSignal: "SIGTERM",
    readyWithinMs: 30_000,
    isReady: () => repliesToPing(port, password),
  });
}

/** Returns whether Redis replies to a PING. While it reads its log from disk, it replies `-LOADING`. */
function repliesToPing(port: number, password: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(`AUTH ${password}\r\nPING\r\n`));
    socket.setTimeout(1_000, () => socket.destroy());
    let reply = "";
    socket.setEncoding("utf8").on("data", (text: string) => {
      reply += text;
      if (reply.split("\r\n").length <= 2) return;
      resolve(reply === "+OK\r\n+PONG\r\n");
      socket.destroy();
    });
    socket.once("error", () => resolve(false));
    socket.once("close", () => resolve(false));
  });
}
