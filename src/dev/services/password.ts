import { randomBytes } from "node:crypto";
import { link, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

/**
 * Resolves with the password of the service in a folder: 256 random bits in hexadecimal, made at the first
 * call and kept in the file `password` (mode 0600). Of processes that make one at the same time, all get the
 * same.
 */
export async function servicePassword(folder: string): Promise<string> {
  const file = passwordFile(folder);
  const kept = await readPassword(file);
  if (kept) return kept;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const draft = `${file}.${randomBytes(6).toString("hex")}`;
  try {
    await writeFile(draft, `${randomBytes(32).toString("hex")}\n`, { mode: 0o600, flush: true });
    await link(draft, file).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
  } finally {
    await rm(draft, { force: true });
  }
  return readPassword(file);
}

/** Names the file of the service's password. */
export const passwordFile = (folder: string): string => join(folder, "password");

const readPassword = async (file: string): Promise<string> =>
  (
    await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return "";
      throw error;
    })
  ).trim();
