import { createRequire } from "node:module";
import type { PayloadConverter } from "@temporalio/common";
import { expect, it } from "vitest";
import { dataConverterOf } from "./data-converter.ts";
import { payloadConverter } from "./exact-payloads.ts";

const require = createRequire(import.meta.url);
const path = dataConverterOf().payloadConverterPath ?? "";
const load = () => (require(path) as { payloadConverter: PayloadConverter }).payloadConverter;

it("gives the SDK the converter that keeps large integers", () => {
  expect(load()).toBe(payloadConverter);
});

it("fails with a sentence where the module was loaded without its converter", () => {
  delete require.cache[path];
  expect(() => load()).toThrow(/payload converter .*data-converter\.ts/);
});
