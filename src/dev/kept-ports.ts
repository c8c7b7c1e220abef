/**
 * Ports of the embedded services. They are internal: clients of the platform never see them, so two platforms
 * on one machine need no configuration. Each data folder keeps the ports that its first start found.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { SETTINGS } from "../config/settings.ts";
import { freePort, isFree } from "./services/port.ts";

export interface StackPorts {
  temporal: number;
  temporalUi: number;
  postgres: number;
}

/** The ports of a first start, where they are free: the defaults of the settings. */
export const USUAL_PORTS: StackPorts = {
  temporal: SETTINGS.temporal.port.default,
  temporalUi: SETTINGS.temporal.uiPort.default,
  postgres: SETTINGS.postgres.port.default,
};

const NAMES = ["temporal", "temporalUi", "postgres"] as const;

/** The content of `ports.json` in a data folder. */
const kept = z.object({
  temporal: z.number().int(),
  temporalUi: z.number().int(),
  postgres: z.number().int(),
});

/** Reads the ports of a data folder: the kept ones, and the usual ones before its first start. */
export async function readPorts(folder: string): Promise<StackPorts> {
  const text = await readFile(join(folder, "ports.json"), "utf8").catch(() => "");
  try {
    return kept.parse(JSON.parse(text));
  } catch {
    return USUAL_PORTS;
  }
}

/**
 * Chooses the ports of the embedded services and keeps them in the data folder. A port that was configured is
 * taken as it is, 0 as any free one. Any other is the kept one, and a free one when another program uses
 * that.
 *
 * A kept port that is in use may belong to services of a killed platform that are about to end; it gets
 * `graceMs` to become free.
 */
export async function choosePorts(
  folder: string,
  configured: Partial<StackPorts>,
  { graceMs = 5_000 }: { graceMs?: number } = {},
): Promise<StackPorts> {
  const before = await readPorts(folder);
  const isFirst = before === USUAL_PORTS;
  const choose = async (name: (typeof NAMES)[number]): Promise<number> => {
    const wanted = configured[name];
    if (wanted) return wanted;
    const isUsable = wanted !== 0 && (await isFree(before[name], isFirst ? 0 : graceMs));
    return isUsable ? before[name] : freePort();
  };
  const [temporal, temporalUi, postgres] = await Promise.all(NAMES.map(choose));
  const ports = { temporal, temporalUi, postgres } as StackPorts;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(join(folder, "ports.json"), `${JSON.stringify(ports)}\n`, { mode: 0o600 });
  return ports;
}
