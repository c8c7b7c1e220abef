import { FairSemaphore } from "../../core/concurrency/fair-semaphore.ts";
import { LIMITS } from "../../core/limits.ts";
import { Budget } from "./budget.ts";
import { Turns } from "./turns.ts";

/** The resources that the callers of a process share; each owner may hold a part of them. */
export interface Budgets {
  /** WebSockets. */
  sockets: Budget;
  /** Calls that are held open: runs, streams, status streams, uploads and large results. */
  openCalls: Budget;
  /** Bytes of bodies and messages that are in memory: arriving, waiting, or being worked on. */
  bodies: Budget;
  /** Files on their way to an address: public ones have no other owner. */
  files: Budget;
  /** The connections to PostgreSQL for callers without a key, whose addresses take turns. */
  lookups: FairSemaphore;
  /** The event loop, for work that would keep it from the others. */
  turns: Turns;
}

export interface BudgetLimits {
  socketsMax: number;
  socketsOfOwnerMax: number;
  openCallsMax: number;
  openCallsOfOwnerMax: number;
  bodiesBytesMax: number;
  bodiesBytesOfOwnerMax: number;
  /** The largest body. One in a content coding must fit, with the bytes that it is decoded from. */
  bodyBytesMax: number;
}

/**
 * @param limits read at each use: they may change while the process runs
 * @param turns by default with the clock of the machine
 */
export function createBudgets(limits: () => BudgetLimits, turns = new Turns()): Budgets {
  const bodiesOfOwner = (): number => Math.max(limits().bodiesBytesOfOwnerMax, 2 * limits().bodyBytesMax);
  return {
    sockets: new Budget({
      things: "WebSockets open at this gateway",
      remedy: "Close one first.",
      ofOwner: () => limits().socketsOfOwnerMax,
      total: () => limits().socketsMax,
    }),
    openCalls: new Budget({
      things: "runs, streams, uploads and large results open at this gateway",
      remedy: "Wait for one, or submit to the queue.",
      ofOwner: () => limits().openCallsOfOwnerMax,
      total: () => limits().openCallsMax,
    }),
    bodies: new Budget({
      things: "bytes of bodies in the memory of this server",
      remedy: "Wait for the answer of another call first.",
      ofOwner: bodiesOfOwner,
      total: () => Math.max(limits().bodiesBytesMax, 2 * bodiesOfOwner()),
    }),
    files: createFilesBudget(),
    lookups: new FairSemaphore(LIMITS.keylessLookupsMax),
    turns,
  };
}

export function createFilesBudget(): Budget {
  return new Budget({
    things: "files on their way to your address",
    remedy: "Wait until one has arrived.",
    ofOwner: () => LIMITS.filesOfAddressMax,
  });
}
