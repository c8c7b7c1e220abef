/** The checks of a client, and the programs that make them. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

export interface Check {
  name: string;
  passed: boolean;
  /** Reason why it failed. */
  reason?: string;
}

/** The tested server as programs need it. */
export interface Surroundings {
  url: string;
  tlsUrl: string;
  key: string;
  caFile: string;
  /** Gives a webhook URL, and the check that it was called. */
  hook(): { url: string; called(): Promise<Check> };
  log(line: string): void;
}

export interface Client {
  title: string;
  /** Returns in one line, with the remedy, what this machine lacks for the client; else undefined. */
  objection?(): Promise<string | undefined>;
  run(surroundings: Surroundings): Promise<Check[]>;
}

/** Longest run of a program, in milliseconds. */
const PROGRAM_WITHIN_MS = 480_000;

/** Runs a check of this process. */
export async function checkOf(name: string, work: () => Promise<unknown>): Promise<Check> {
  try {
    await work();
    return { name, passed: true };
  } catch (error) {
    return { name, passed: false, reason: error instanceof Error ? error.message : String(error) };
  }
}

/**
 * Runs a program that prints each check as a line of JSON. A program that ends with an error, or prints no
 * check, gives a failed one.
 */
export async function checksOf(
  command: string,
  args: readonly string[],
  env: Record<string, string>,
): Promise<Check[]> {
  const { PATH = "", HOME = "", JAVA_HOME = "" } = process.env;
  const child = spawn(command, args, {
    env: { PATH, HOME, ...(JAVA_HOME && { JAVA_HOME }), ...env },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: PROGRAM_WITHIN_MS,
  });
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    complaint = (complaint + text).slice(-2_000);
  });
  const ended = new Promise<string>((done) => {
    child.once("error", (error) => done(error.message));
    child.once("close", (code, signal) => done(code === 0 ? "" : `it ended with ${signal ?? code}`));
  });
  const checks: Check[] = [];
  for await (const line of createInterface({ input: child.stdout }))
    if (line.startsWith('{"name"')) checks.push(JSON.parse(line));
  const end = (await ended) || (checks.length === 0 ? "it made no check" : "");
  if (end) {
    const reason = [end, complaint.trim().split("\n").slice(-3).join(" / ")].filter(Boolean).join(": ");
    checks.push({ name: "the program runs to its end", passed: false, reason });
  }
  return checks;
}

/**
 * The environment that resolves fal's host names to the server, as DNS would (`python/sitecustomize.py` and
 * `node/resolve-fal.mjs`).
 */
export function falNamesAt({ tlsUrl, caFile, key }: Surroundings): Record<string, string> {
  const { hostname, port } = new URL(tlsUrl);
  return {
    SERVED_AT: `${hostname}:${port}`,
    SSL_CERT_FILE: caFile,
    NODE_EXTRA_CA_CERTS: caFile,
    FAL_KEY: key,
  };
}
