/** Makes faults one after the other while jobs are submitted, and measures how soon the platform recovers. */
import { sleep } from "../../../src/core/concurrency/sleep.ts";
import { SetupError } from "../../../src/dev/setup-error.ts";
import type { FaultRecord, Ledger } from "../checker/ledger.ts";
import type { Random } from "../random.ts";
import type { Fault } from "./catalogue.ts";

/** Time of the jobs before a fault begins and after it has ended, in milliseconds. */
const LEAD_MS = [150, 500] as const;
const TAIL_MS = 1_500;
/** The share of a round's jobs that are submitted while the fault lasts. */
const INSIDE = 0.85;

export interface Rounds {
  ledger: Ledger;
  random: Random;
  faults: Fault[];
  count: number;
  jobs: number;
  /** Two faults of different parts at once, in every third round. */
  overlap: boolean;
  /** Begins one job; resolves when its client has finished. */
  play(job: number): Promise<void>;
  /** Resolves with the milliseconds until the result of a new job was read; undefined when it was not. */
  probe(): Promise<number | undefined>;
  over: AbortSignal;
  /** Ends the rounds: no fault begins after this time of the process's clock. */
  untilMs: number;
  log(line: string): void;
}

/** Runs all rounds. Resolves with the clients that still follow their jobs. */
export async function runRounds(rounds: Rounds): Promise<Promise<void>[]> {
  const { random, faults, count, jobs, over, log } = rounds;
  const playing: Promise<void>[] = [];
  let deck: Fault[] = [];
  for (let round = 0, begun = 0; round < count && !over.aborted; round++) {
    if (performance.now() > rounds.untilMs) break;
    if (deck.length === 0) deck = random.shuffled(faults);
    const fault = deck.pop();
    if (!fault) throw new SetupError("--only names no fault; the names are those that a run prints");
    const chosen = [fault];
    const partner = rounds.overlap && round % 3 === 2 ? partnerOf(fault, deck) : undefined;
    if (partner) deck.splice(deck.indexOf(partner), 1);
    if (partner) chosen.push(partner);
    const until = Math.floor(((round + 1) * jobs) / count);
    const numbers = Array.from({ length: until - begun }, (_, index) => begun + index);
    begun = until;
    const records = await runRound(rounds, chosen, numbers, playing);
    const recovered = records.map(({ recoveryMs }) => `${recoveryMs?.toFixed(0) ?? "no"} ms`).join(", ");
    log(`fault ${round + 1}/${count} ${records.map(({ name }) => name).join(" + ")}: recovery ${recovered}`);
  }
  return playing;
}

function partnerOf(fault: Fault, deck: readonly Fault[]): Fault | undefined {
  return deck.find(({ parts }) => !parts.some((part) => fault.parts.includes(part)));
}

async function runRound(
  { random, play, probe, ledger, over }: Rounds,
  faults: Fault[],
  numbers: number[],
  playing: Promise<void>[],
): Promise<FaultRecord[]> {
  const leadMs = random.integer(...LEAD_MS);
  const holds = faults.map(({ holdMs }) => random.integer(...holdMs));
  const insideMs = Math.max(...holds);
  for (const number of numbers) {
    const atMs = random.chance(INSIDE)
      ? leadMs + random.next() * insideMs
      : leadMs + insideMs + random.next() * TAIL_MS;
    const begin = async (): Promise<void> => {
      await sleep(atMs, over);
      await play(number);
    };
    playing.push(attempt(ledger, `job ${number}`, () => begin().catch(unlessOver(over))));
  }
  await sleep(leadMs, over).catch(() => {});
  const records = await Promise.all(
    faults.map(async (fault, index) => {
      const { name, target } = fault;
      const beginMs = performance.now();
      await attempt(ledger, `${name}: begin`, () => fault.begin(random));
      await sleep(holds[index] ?? 0, over).catch(() => {});
      const endingMs = performance.now();
      await attempt(ledger, name, () => fault.end());
      const endMs = performance.now();
      const overlapped = faults.length > 1;
      return { name, target, beginMs, endMs, overlapped, startMs: endMs - endingMs } as FaultRecord;
    }),
  );
  ledger.faults.push(...records);
  const recoveryMs = await probe();
  if (recoveryMs !== undefined) for (const record of records) record.recoveryMs = recoveryMs;
  return records;
}

/** Does a part of the run. Its failure, such as a role that does not come back, is a violation. */
async function attempt(ledger: Ledger, name: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    ledger.lost.push({ atMs: performance.now(), text: `${name}: ${(error as Error).message}` });
  }
}

/** Rethrows an error unless the run is over, which ends every wait. */
function unlessOver(over: AbortSignal): (error: unknown) => void {
  return (error) => {
    if (!over.aborted) throw error;
  };
}
