import { tmpdir } from "node:os";
import type { ModelVersion } from "../../../core/models/model.ts";

/** A version of the stub model for tests of the pool; its engine is the built-in one. */
export const STUB_VERSION: ModelVersion = {
  endpoint: "tempera/stub",
  version: "1.0.0",
  digest: "0",
  title: "Stub",
  description: "",
  category: "test",
  runner: "stub",
  engine: "stub",
  folder: tmpdir(),
  parameters: {},
  restrictions: [],
  slots: 8,
  memoryMiB: 100,
  pinned: false,
  retry: { attemptsMax: 3, initialMs: 10, backoff: 2, maximumMs: 100 },
  timeouts: { heartbeatMs: 3000, runMs: 60_000, loadMs: 20_000 },
  schemas: { input: {}, output: {} },
};
