import { describe, expect, it } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { RequestEvent } from "../../core/requests/events.ts";
import type { RequestIdentity } from "../../core/requests/request.ts";
import { EventWriter } from "./event-writer.ts";

const REQUEST: RequestIdentity = {
  requestId: "r",
  ownerId: "o",
  endpoint: "a/b",
  version: "1.0.0",
  taskQueue: "q",
  priority: "normal",
};
type AttemptEvent = Exclude<RequestEvent, { type: "done" }>;

/** An event log that waits for `held` and fails while `away`. */
function createLog() {
  const appended: RequestEvent[] = [];
  const state = {
    away: false,
    held: undefined as Promise<void> | undefined,
  };
  const log: Pick<EventLog, "append"> = {
    async append(_request, event) {
      if (state.away) throw new TemperaError("store_unavailable");
      appended.push(event);
      await state.held;
    },
  };
  const warnings: string[] = [];
  return {
    state,
    appended,
    warnings,
    writer: new EventWriter(log as EventLog, REQUEST, (message) => warnings.push(message)),
  };
}

const started: AttemptEvent = { type: "started", attempt: 1, worker: "w" };
const progress = (step: number): AttemptEvent => ({ type: "progress", attempt: 1, step, steps: 30 });
const line = (message: string): AttemptEvent => ({ type: "log", attempt: 1, level: "INFO", message });

describe("the events of an attempt", () => {
  it("are appended in order, and all of them are sent before the outcome", async () => {
    const { writer, appended } = createLog();
    const events = [started, line("a"), progress(1), line("b"), progress(2)];
    for (const event of events) writer.write(event);
    await writer.sent();
    expect(appended).toEqual(events);
  });

  it("skip progress that newer progress replaced while the log was slow", async () => {
    const { writer, appended, state } = createLog();
    let release = (): void => {};
    state.held = new Promise((resolve) => {
      release = resolve;
    });
    writer.write(started);
    for (let step = 1; step <= 30; step++) writer.write(progress(step));
    writer.write(line("almost"));
    release();
    await writer.drained();
    expect(appended).toEqual([started, progress(30), line("almost")]);
  });

  it("are not lost when they are written at the moment when the queue was sent", async () => {
    for (let ticks = 0; ticks < 8; ticks++) {
      const { writer, appended } = createLog();
      writer.write(started);
      let later = Promise.resolve();
      for (let n = 0; n < ticks; n++) later = later.then(() => {});
      await later;
      writer.write(progress(1));
      await writer.drained();
      expect(appended, `${ticks} ticks later`).toEqual([started, progress(1)]);
    }
  });
});

describe("while the event log is unavailable", () => {
  it("drops events and warns", async () => {
    const { writer, appended, warnings, state } = createLog();
    state.away = true;
    for (let step = 1; step <= 30; step++) {
      writer.write(progress(step));
      writer.write(line("x"));
    }
    await writer.drained();
    expect(appended).toEqual([]);
    expect(warnings.length).toBeGreaterThan(0);
    expect(warnings.length).toBeLessThan(5);
  });

  it("keeps the last state event and appends it when the log is available again", async () => {
    const { writer, appended, state } = createLog();
    state.away = true;
    writer.write(progress(1));
    writer.write(line("lost"));
    writer.write({ type: "queued", attempt: 1 });
    writer.write({ type: "started", attempt: 2, worker: "w" });
    state.away = false;
    await writer.drained();
    expect(appended).toContainEqual({ type: "started", attempt: 2, worker: "w" });
  });
});

describe("log lines", () => {
  const lines = async (...messages: string[]): Promise<string[]> => {
    const { writer, appended } = createLog();
    for (const message of messages) writer.write(line(message));
    await writer.drained();
    return appended.map((event) => (event.type === "log" ? event.message : ""));
  };

  it("are dropped after the first logLinesMax", async () => {
    const written = await lines(...Array.from({ length: LIMITS.logLinesMax + 50 }, (_, n) => String(n)));
    expect(written).toHaveLength(LIMITS.logLinesMax);
    expect(written[0]).toBe("0");
  });

  it.each(["a", "é", "漢", "😀"])("are cut to their bytes between characters: %s", async (character) => {
    for (const before of ["", "a", "ab", "abc"]) {
      const [written = ""] = await lines(before + character.repeat(LIMITS.logLineBytesMax));
      const bytes = Buffer.byteLength(written);
      expect(bytes).toBeLessThanOrEqual(LIMITS.logLineBytesMax);
      expect(bytes).toBeGreaterThan(LIMITS.logLineBytesMax - 4);
      expect(written.isWellFormed() && !written.includes("\ufffd")).toBe(true);
    }
  });

  it("hold no NUL and no half of a surrogate pair", async () =>
    expect(await lines("a\u0000b", "a\ud83d")).toEqual(["a\ufffdb", "a\ufffd"]));

  it("that are short stay as they are", async () => expect(await lines("é😀\n\t")).toEqual(["é😀\n\t"]));
});
