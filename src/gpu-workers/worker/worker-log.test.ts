import { expect, it } from "vitest";
import type { Log } from "../../core/operations/log.ts";
import { createWorkerLog } from "./worker-log.ts";

it("logs the name of a model version, not its whole manifest", () => {
  const lines: unknown[] = [];
  const write = (fields: object, message: string) => void lines.push([fields, message]);
  const log: Log = { debug: write, info: write, warn: write, error: write };
  const model = { endpoint: "acme/echo", version: "1.0.0", schemas: { input: {} }, retry: {} };
  createWorkerLog(log)("INFO", "Takes no new requests for now.", model);
  createWorkerLog(log)("WARN", "engines cannot be reported");
  expect(lines).toEqual([
    [{ endpoint: "acme/echo", version: "1.0.0" }, "Takes no new requests for now."],
    [{}, "engines cannot be reported"],
  ]);
});
