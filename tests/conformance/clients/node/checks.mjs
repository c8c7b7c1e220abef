/** Checks of a program, each printed as a line of JSON. */
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

export const STUB = "tempera/stub";

/** Runs a check and prints its outcome. */
export async function check(name, work) {
  let line = { name, passed: true };
  // Some clients wait with timers that do not keep a process alive.
  const alive = setInterval(() => {}, 60_000);
  try {
    await work();
  } catch (error) {
    line = { name, passed: false, reason: String(error?.stack ?? error).slice(0, 500) };
  }
  clearInterval(alive);
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

export function same(actual, expected) {
  const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (left !== right) throw new Error(`it is ${left} instead of ${right}`);
}

/** Resolves to the error that a call rejects with. */
export async function failure(work) {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
}

/** Imports a package, or a file of one, of the folder PACKAGES. */
export function load(name, file = "") {
  const { resolve } = createRequire(join(process.env.PACKAGES, "none.cjs"));
  const path = file ? join(process.env.PACKAGES, name, file) : resolve(name);
  return import(pathToFileURL(path).href);
}
