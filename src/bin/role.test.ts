import { afterEach, expect, it, vi } from "vitest";
import { onSignal } from "./role.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

const before = new Map(SIGNALS.map((signal) => [signal, process.listeners(signal)]));
afterEach(() => {
  vi.restoreAllMocks();
  for (const signal of SIGNALS)
    for (const listener of process.listeners(signal))
      if (!before.get(signal)?.includes(listener)) process.off(signal, listener);
});

/** Receives the signals as this process would, each at its time in milliseconds. */
function receive(...signals: [(typeof SIGNALS)[number], number][]): { stops: string[]; exits: unknown[] } {
  const stops: string[] = [];
  const exits: unknown[] = [];
  vi.spyOn(process, "exit").mockImplementation((code) => exits.push(code) as never);
  onSignal((signal) => stops.push(signal));
  for (const [signal, atMs] of signals) {
    vi.spyOn(performance, "now").mockReturnValue(atMs);
    process.emit(signal, signal);
  }
  return { stops, exits };
}

it.each(SIGNALS)("stops at %s, and ends at once at a second signal", (signal) => {
  expect(receive([signal, 0], ["SIGTERM", 1_000])).toEqual({ stops: [signal], exits: [130] });
});

it("takes a signal that arrives twice, directly and through npm, as one", () => {
  expect(receive(["SIGTERM", 0], ["SIGTERM", 50])).toEqual({ stops: ["SIGTERM"], exits: [] });
});

it("goes on stopping when the terminal or npm ends after the first signal", () => {
  const signals = receive(["SIGTERM", 0], ["SIGHUP", 5_000], ["SIGHUP", 9_000]);
  expect(signals).toEqual({ stops: ["SIGTERM"], exits: [] });
});
