import { expect, it } from "vitest";
import { loadConfig } from "../config/load-config.ts";
import type { Registry } from "../registry/registry.ts";
import { warnOfMissingCalls, warnOfSlips } from "./open-registry.ts";

it("warns of each call that nobody serves, with the nearest endpoint", () => {
  const served = ["acme/image", "acme/film"];
  const registry = {
    list: () => served.map((endpoint) => ({ endpoint })),
    pipelines: () => [
      {
        endpoint: "acme/two",
        version: "1.0.0",
        calls: ["acme/image", "acme/imag", "workflows/ann/x", "other/entirely-different"],
      },
    ],
    route: (endpoint: string) => (served.includes(endpoint) ? {} : undefined),
  } as unknown as Registry;
  const warnings: string[] = [];
  warnOfMissingCalls(registry, { warn: (_: object, message: string) => void warnings.push(message) });
  expect(warnings).toEqual([
    "acme/two calls acme/imag, which is not served; did you mean acme/image?",
    "acme/two calls other/entirely-different, which is not served; serve it, or take it out of `calls`",
  ]);
});

it("warns of what `tempera models check` refuses", () => {
  const registry = {
    list: () => [
      {
        endpoint: "acme/echo",
        version: "1.0.0",
        engine: "stubb",
        runner: "stub",
        restrictions: [],
        schemas: { input: { type: "object", properties: {} }, output: { type: "object" } },
      },
    ],
  } as unknown as Registry;
  const warnings: string[] = [];
  const log = { warn: (_: object, message: string) => void warnings.push(message) };
  warnOfSlips(registry, loadConfig({}), log);
  expect(warnings).toEqual([
    'acme/echo 1.0.0: model.yaml: /engine "stubb" is no engine; did you mean "stub"?',
  ]);
});
