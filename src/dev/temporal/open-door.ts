import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { fileURLToPath } from "node:url";
import { endWithParent } from "../services/parent-watch.ts";
import { claimPort, portInUse } from "../services/port.ts";
import type { Command } from "../services/user-rights.ts";
import { SetupError } from "../setup-error.ts";

const PROGRAM = fileURLToPath(new URL("./door.mjs", import.meta.url));

/** What a listening socket leads to (door.mjs). */
export type Way =
  | { leadsTo: "server"; port: number; cert: string; key: string; ca: string }
  | { leadsTo: "ui"; port: number; hosts: string[]; password: string };

/** The process that lets callers with a credential pass to Temporal. */
export interface Door {
  pid: number;
  ended: Promise<void>;
  close(): Promise<void>;
}

export interface PortClaim {
  port: number;
  owner: string;
  variable: string;
}

/** Listens on a port of this machine. Rejects with `setup_failed` when it is in use. */
export async function listenOn(claim: PortClaim): Promise<Server> {
  await claimPort(claim);
  const server = createServer();
  server.listen({ port: claim.port, host: "127.0.0.1", exclusive: true });
  await once(server, "listening").catch((error: NodeJS.ErrnoException) => {
    throw error.code === "EADDRINUSE" ? portInUse(claim) : error;
  });
  return server;
}

/**
 * Starts the door and hands it the listening sockets, which this process then has no more. Rejects with
 * `setup_failed`.
 *
 * @param placed makes the program run where Temporal's ports are
 */
export async function openDoor(
  ways: { server: Server; way: Way }[],
  placed: (command: string, args: string[]) => Promise<Command>,
): Promise<Door> {
  const { command, args } = await placed(process.execPath, [PROGRAM]);
  const child = spawn(command, args, {
    detached: true,
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    env: { PATH: process.env.PATH },
  });
  const { pid } = child;
  const ended = endOf(child);
  child.on("error", () => {}); // a message that it did not take
  if (pid === undefined) throw new SetupError(`Temporal: the way to it cannot be opened: ${await ended}`);
  const forget = endWithParent(pid, "SIGTERM");
  void ended.then(forget);
  const close = async () => {
    child.kill("SIGTERM");
    await ended;
  };
  const opened = new Promise<void>((resolve) => child.once("message", () => resolve()));
  for (const [index, { server, way }] of ways.entries()) {
    const isLast = index === ways.length - 1;
    child.send({ ...way, isLast }, server, () => server.close());
  }
  const early = await Promise.race([opened, ended]);
  if (early !== undefined) throw new SetupError(`Temporal: the way to it is closed (${early})`);
  child.disconnect();
  return { pid, ended: ended.then(() => {}), close };
}

const endOf = (child: ChildProcess): Promise<string> =>
  new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal ? `signal ${signal}` : `exit code ${code}`));
  });
