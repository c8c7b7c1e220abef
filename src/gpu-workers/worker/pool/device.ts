/** The memory of a GPU worker's device, and the share of it that engines may hold. */
import { execFile } from "node:child_process";
import { totalmem } from "node:os";
import { promisify } from "node:util";

const MIB = 2 ** 20;

/** Share of the host's memory. The rest is for the platform's own processes and the system. */
const CPU_SHARE = 0.75;
/** Share of a GPU's memory. The rest is for the driver's contexts, one for each process. */
const GPU_SHARE = 0.9;

export interface Budget {
  budgetMiB: number;
  /** Memory of the device; `undefined` when it was not queried. */
  totalMiB?: number;
}

/**
 * Determines the memory that all engines on a device may hold together: the configured amount, else a share
 * of the device's memory.
 *
 * Throws a sentence with its remedy when nothing is configured and a GPU's memory cannot be determined.
 *
 * @param device `cpu`, `cuda:<n>` or `tensorrt:<n>`
 * @param queryGpu gives the total memory of the GPU with this index, in MiB
 */
export async function memoryBudget(
  device: string,
  configuredMiB: number | undefined,
  queryGpu: (index: string) => Promise<string> = queryNvidiaSmi,
): Promise<Budget> {
  if (device === "cpu") {
    const totalMiB = hostMiB();
    return { budgetMiB: configuredMiB ?? Math.floor(totalMiB * CPU_SHARE), totalMiB };
  }
  if (configuredMiB !== undefined) return { budgetMiB: configuredMiB };
  const index = device.slice(device.indexOf(":") + 1);
  let totalMiB: number;
  try {
    totalMiB = Number.parseInt(await queryGpu(index), 10);
    if (!(totalMiB > 0)) throw new Error("nvidia-smi printed no number");
  } catch (error) {
    const reason = ((error as { stderr?: string }).stderr?.trim() || (error as Error).message).split("\n")[0];
    throw new Error(
      `The memory of ${device} cannot be determined (${reason}); set TEMPERA_WORKER_MEMORY_MIB, or ` +
        "TEMPERA_WORKER_DEVICE=cpu where there is no such GPU.",
      { cause: error },
    );
  }
  return { budgetMiB: Math.floor(totalMiB * GPU_SHARE), totalMiB };
}

/** Memory of the host, or of its container when that is limited to less. */
function hostMiB(): number {
  const limit = process.constrainedMemory();
  return Math.round((limit > 0 ? Math.min(limit, totalmem()) : totalmem()) / MIB);
}

async function queryNvidiaSmi(index: string): Promise<string> {
  const args = ["--query-gpu=memory.total", "--format=csv,noheader,nounits", "-i", index];
  const { stdout } = await promisify(execFile)("nvidia-smi", args, { timeout: 10_000 });
  return stdout;
}
