/** Input files, lent to one isolated engine for as long as it needs them. */
import { chmod, copyFile, link, mkdir, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import type { SessionListener } from "../../../core/engines/engine.ts";
import type { InputFile } from "../../../core/files/input-file.ts";
import type { Frame } from "../../../core/requests/session.ts";

export interface Loan extends AsyncDisposable {
  /** The same files, at paths that the engine can read. */
  files: InputFile[];
}

/**
 * The folder of the files that one engine may read: links to those of its own runs, so that it sees no file
 * of another engine. The folder lies in one that only the GPU worker's user may enter.
 */
export class LentFiles {
  readonly #folder: string;
  #loans = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Lends files until the loan is disposed of. */
  async lend(files: readonly InputFile[]): Promise<Loan> {
    if (files.length === 0) return { files: [], [Symbol.asyncDispose]: async () => {} };
    const folder = join(this.#folder, String(this.#loans++));
    const remove = () => rm(folder, { recursive: true, force: true });
    try {
      await mkdir(folder);
      await chmod(folder, 0o755);
      const lent = files.map(async (file, index) => {
        const path = join(folder, `${index}-${basename(file.path)}`);
        await share(file.path, path);
        return { ...file, path };
      });
      return { files: await Promise.all(lent), [Symbol.asyncDispose]: remove };
    } catch (error) {
      await remove();
      throw error;
    }
  }

  /** Lends the files of each frame of a session until the engine has settled it. */
  lendFrames(
    inputs: AsyncIterable<Frame>,
    listener: SessionListener,
  ): { inputs: AsyncIterable<Frame>; listener: SessionListener; end(): Promise<void> } {
    const loans = new Map<number, Loan>();
    const giveBack = async (sequence: number): Promise<void> => {
      const loan = loans.get(sequence);
      loans.delete(sequence);
      await loan?.[Symbol.asyncDispose]();
    };
    const lend = (files: readonly InputFile[]) => this.lend(files);
    return {
      inputs: (async function* () {
        for await (const frame of inputs) {
          if (!frame.files?.length) yield frame;
          else {
            const loan = await lend(frame.files);
            loans.set(frame.sequence, loan);
            yield { ...frame, files: loan.files };
          }
        }
      })(),
      listener: {
        started: (worker) => listener.started(worker),
        output: (frame) => listener.output(frame),
        settled: async (sequence, error) => {
          await giveBack(sequence);
          await listener.settled(sequence, error);
        },
      },
      end: async () => {
        for (const sequence of [...loans.keys()]) await giveBack(sequence);
      },
    };
  }
}

/** Links a file, or copies it from another disk, so that every user may read it who can reach it. */
async function share(from: string, to: string): Promise<void> {
  await link(from, to).catch(() => copyFile(from, to));
  const { mode } = await stat(to);
  if ((mode & 0o004) === 0) await chmod(to, mode | 0o044);
}
