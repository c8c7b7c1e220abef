import { createRequire } from "node:module";
import type { DataConverter, PayloadCodec, PayloadConverter } from "@temporalio/common";
import { payloadConverter } from "./exact-payloads.ts";

const require = createRequire(import.meta.url);
const MODULE = require.resolve("./converter-module.cjs");
(require(MODULE) as { payloadConverter: PayloadConverter }).payloadConverter = payloadConverter;

/**
 * Returns the data converter of workers and clients, which keeps large integers exactly.
 *
 * @param codec encodes payloads; every process needs the same one
 * @param failureConverterPath the module that encodes failures; the SDK's when absent
 */
export function dataConverterOf(codec?: PayloadCodec, failureConverterPath?: string): DataConverter {
  return {
    payloadConverterPath: MODULE,
    ...(codec && { payloadCodecs: [codec] }),
    ...(failureConverterPath !== undefined && { failureConverterPath }),
  };
}
