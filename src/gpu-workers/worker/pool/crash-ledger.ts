/**
 * The crash ledger of a GPU worker: the crash records of all workers, as of the crash store, and the own ones
 * that are not stored yet. It judges requests from memory, so a request costs no call of the store. The store
 * announces changes; a retried request reads the records anew. While the store is away, the worker judges by
 * what it knows.
 */
import { randomUUID } from "node:crypto";
import {
  type CrashCompany,
  type CrashRecord,
  type Treatment,
  treatmentOf,
} from "../../../core/engines/crash.ts";
import type { CrashStore, NewCrashRecord } from "../../../core/engines/crash-store.ts";
import type { EngineRun } from "../../../core/engines/engine.ts";
import { LIMITS } from "../../../core/limits.ts";
import type { ModelVersion } from "../../../core/models/model.ts";

type VersionName = Pick<ModelVersion, "endpoint" | "version">;

/** The part of a run or session that the ledger judges. */
export interface Accountable extends Pick<EngineRun, "requestId" | "ownerId"> {
  /** Computes the digest of its input. */
  digest: () => string;
  begunMs: number;
}

export interface CrashLedgerOptions {
  /** The store that all workers share; without one, this worker remembers for itself. */
  store?: CrashStore;
  /** Crashes of an owner within `LIMITS.crashKeptMs` after which its requests for the model are refused. */
  ofOwnerMax: number;
  warn: (message: string) => void;
  /** A clock that is never set back, in milliseconds. */
  nowMs?: () => number;
}

/** A record with the moment of its crash, by the ledger's clock. */
type Known = CrashRecord & { atMs: number };

export class CrashLedger implements AsyncDisposable {
  readonly #options: CrashLedgerOptions & { nowMs: () => number };
  /** By `owner endpoint version`. */
  #stored = new Map<string, Known[]>();
  /** Records that the store does not have yet, by crash. */
  readonly #own = new Map<string, Known[]>();
  /** Reads that were begun, and the newest of them that was used. */
  #reads = { begun: 0, used: 0 };
  #isAway = false;
  #interval: NodeJS.Timeout | undefined;
  #unsubscribe: () => Promise<void> = async () => {};

  constructor(options: CrashLedgerOptions) {
    this.#options = { ...options, nowMs: options.nowMs ?? (() => performance.now()) };
  }

  /** Resolves when the records were read, or could not be. */
  static async start(options: CrashLedgerOptions): Promise<CrashLedger> {
    const ledger = new CrashLedger(options);
    const read = () => void ledger.refresh();
    if (options.store) {
      ledger.#unsubscribe = await options.store.onChange(read).catch(() => async () => {});
      ledger.#interval = setInterval(read, LIMITS.crashRefreshMs);
    }
    await ledger.refresh();
    return ledger;
  }

  /** Judges a request by the records of its owner. */
  treatmentOf(model: VersionName, { ownerId, digest }: Pick<Accountable, "ownerId" | "digest">): Treatment {
    const key = keyOf(ownerId, model);
    const own = [...this.#own.values()].flat().filter((record) => keyOf(record.ownerId, record) === key);
    const nowMs = this.#options.nowMs();
    const records = [...(this.#stored.get(key) ?? []), ...own].map((record) => ({
      ...record,
      ageMs: nowMs - record.atMs,
    }));
    return treatmentOf(records, digest, this.#options.ofOwnerMax);
  }

  /** Records the requests that were on a crashed engine. Resolves when the store has them, or is away. */
  async record(
    model: VersionName,
    present: readonly (Accountable & { company: CrashCompany; cleared: boolean })[],
  ): Promise<void> {
    if (present.length === 0) return;
    const crashId = randomUUID();
    const nowMs = this.#options.nowMs();
    const records = present.map(({ requestId, ownerId, digest, company, cleared, begunMs }) => ({
      crashId,
      endpoint: model.endpoint,
      version: model.version,
      ownerId,
      inputDigest: digest(),
      requestId,
      company,
      cleared,
      begunMsAgo: nowMs - begunMs,
    }));
    this.#own.set(
      crashId,
      records.map(({ begunMsAgo: _, ...record }) => ({ ...record, ageMs: 0, atMs: nowMs })),
    );
    this.#dropExpired();
    await this.#store(crashId, records);
  }

  /** Notes that the input of a request has run to an end: it is no suspect any more. */
  clear(model: VersionName, { ownerId, digest }: Pick<Accountable, "ownerId" | "digest">): void {
    const { alone } = this.treatmentOf(model, { ownerId, digest });
    if (!alone) return;
    const inputDigest = digest();
    const key = keyOf(ownerId, model);
    for (const record of [...(this.#stored.get(key) ?? []), ...[...this.#own.values()].flat()])
      if (keyOf(record.ownerId, record) === key && record.inputDigest === inputDigest) record.cleared = true;
    void this.#options.store?.clear({ ...model, ownerId, inputDigest }).catch(() => {});
  }

  /** Forgets the records of a model, which an operator has reset. */
  forget({ endpoint, version }: VersionName): void {
    const others = (record: Known) => record.endpoint !== endpoint || record.version !== version;
    for (const [key, records] of this.#stored) this.#stored.set(key, records.filter(others));
    for (const [crashId, records] of this.#own) this.#own.set(crashId, records.filter(others));
    void this.refresh();
  }

  /** Reads the records anew; resolves also when the store is away. */
  async refresh(): Promise<void> {
    const { store, nowMs } = this.#options;
    if (!store) return;
    const number = ++this.#reads.begun;
    try {
      const records = await store.list();
      this.#isAway = false;
      if (number < this.#reads.used) return;
      this.#reads.used = number;
      const atMs = nowMs();
      this.#stored = new Map();
      for (const record of records) {
        const key = keyOf(record.ownerId, record);
        const ofOwner = this.#stored.get(key) ?? [];
        ofOwner.push({ ...record, atMs: atMs - record.ageMs });
        this.#stored.set(key, ofOwner);
      }
    } catch (error) {
      this.#noteAway(error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#interval);
    await this.#unsubscribe().catch(() => {});
  }

  async #store(crashId: string, records: readonly NewCrashRecord[]): Promise<void> {
    const { store } = this.#options;
    if (!store) return;
    try {
      await store.record(records);
      await this.refresh();
      this.#own.delete(crashId);
    } catch (error) {
      this.#noteAway(error);
    }
  }

  /** Records that could not be stored are kept here for their hour. */
  #dropExpired(): void {
    const sinceMs = this.#options.nowMs() - LIMITS.crashKeptMs;
    for (const [crashId, [record]] of this.#own)
      if (!record || record.atMs < sinceMs) this.#own.delete(crashId);
  }

  #noteAway(error: unknown): void {
    if (!this.#isAway)
      this.#options.warn(
        "crashes of engines cannot be read or stored; this worker judges by those it knows: " +
          (error instanceof Error ? error.message : String(error)),
      );
    this.#isAway = true;
  }
}

function keyOf(ownerId: string, { endpoint, version }: VersionName): string {
  return `${endpoint} ${version} ${ownerId}`;
}
