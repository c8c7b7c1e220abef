/** The device of a GPU worker, and how much of its memory engines may hold. */
import { execFile } from "node:child_process";
import { totalmem } from "node:os";
import { promisify } from "node:util";

const MIB = 2 ** 20;

/** Of the host: the rest is for the platform's own processes and the system. */
const CPU_SHARE = 0.75;
/** Of a GPU: the rest is for the driver's contexts, one for each process. */
const GPU_SHARE = 0.9;

export interface Budget {
  budgetMiB: number;
  /** Of the device; `undefined` when it was not asked. */
  totalMiB?: number;
}

/**
 * What the engines on a device may hold together: what is configured, else a share of the device's memory.
 *
 * Throws a sentence with its remedy when a GPU's memory cannot be told and nothing is configured.
 *
 * @param device `cpu`, `cuda:<n>` or `tensorrt:<n>`
 */
export async function memoryBudget(
  device: string,
  configuredMiB: number | undefined,
  ask = askNvidiaSmi,
): Promise<Budget> {
  if (device === "cpu") {
    const totalMiB = hostMiB();
    return { budgetMiB: configuredMiB ?? Math.floor(totalMiB * CPU_SHARE), totalMiB };
  }
  if (configuredMiB !== undefined) return { budgetMiB: configuredMiB };
  const index = device.slice(device.indexOf(":") + 1);
  let totalMiB: number;
  try {
    totalMiB = Number.parseInt(await ask(index), 10);
    if (!(totalMiB > 0)) throw new Error("nvidia-smi told no number");
  } catch (error) {
    const why = ((error as { stderr?: string }).stderr?.trim() || (error as Error).message).split("\n")[0];
    throw new Error(
      `The memory of ${device} cannot be told (${why}); set TEMPERA_WORKER_MEMORY_MIB, or TEMPERA_WORKER_DEVICE=cpu where there is no such GPU.`,
      { cause: error },
    );
  }
  return { budgetMiB: Math.floor(totalMiB * GPU_SHARE), totalMiB };
}

/** A container's limit, where there is one below the host's memory. */
function hostMiB(): number {
  const limit = process.constrainedMemory();
  return Math.round((limit > 0 ? Math.min(limit, totalmem()) : totalmem()) / MIB);
}

const askNvidiaSmi = async (index: string): Promise<string> =>
  (
    await promisify(execFile)(
      "nvidia-smi",
      ["--query-gpu=memory.total", "--format=csv,noheader,nounits", "-i", index],
      { timeout: 10_000 },
    )
  ).stdout;
