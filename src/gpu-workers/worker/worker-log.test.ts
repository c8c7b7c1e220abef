import { expect, it } from "vitest";
import { topKeys } from "../../../tests/setup/json-keys.ts";
import { createLogger } from "../../config/logger.ts";
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

it("names the engine's process beside the worker's own", () => {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const log = createWorkerLog(createLogger({ level: "info", format: "json" }, "gpu-worker", { write }));
  log("INFO", "Loaded in 7 ms.", { endpoint: "acme/echo", version: "1.0.0", pid: 7 });
  const [line = ""] = lines;
  expect(JSON.parse(line)).toMatchObject({ pid: process.pid, enginePid: 7, endpoint: "acme/echo" });
  expect(new Set(topKeys(line)).size).toBe(topKeys(line).length);
});
