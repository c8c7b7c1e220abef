import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll } from "vitest";

/** Kinds of resources that a test may leak, as `process.getActiveResourcesInfo()` names them. */
const KINDS = [
  "TCPSocketWrap",
  "TCPServerWrap",
  "PipeWrap",
  "PipeServerWrap",
  "ProcessWrap",
  "FSEventWrap",
  "MessagePort",
];
/** Longest wait for resources to close, in milliseconds: a keep-alive connection times out after 4 s. */
const PATIENCE_MS = 8_000;

/**
 * Fails the test file when it leaves a connection, server, child process or worker open. It must be the first
 * call in a file, so that it checks after every other hook has cleaned up.
 */
export function leakCheck(): void {
  let before = new Map<string, number>();
  beforeAll(() => {
    before = openResources();
  });
  afterAll(async () => {
    const deadline = Date.now() + PATIENCE_MS;
    let leaks = leaksSince(before);
    while (leaks.length > 0 && Date.now() < deadline) {
      await sleep(50);
      leaks = leaksSince(before);
    }
    if (leaks.length > 0) throw new Error(`left open by this file: ${leaks.join(", ")}`);
  }, PATIENCE_MS + 5_000);
}

function openResources(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
}

function leaksSince(before: Map<string, number>): string[] {
  const now = openResources();
  return KINDS.flatMap((kind) => {
    const more = (now.get(kind) ?? 0) - (before.get(kind) ?? 0);
    return more > 0 ? [`${more} ${kind}`] : [];
  });
}
