/**
 * The converter of payloads, for workers, clients and the workflow sandbox: the SDK's own JSON, in which
 * large integers keep their value (`src/core/json/exact-json.ts`). The workflow bundle contains this module.
 */
import {
  BinaryPayloadConverter,
  CompositePayloadConverter,
  JsonPayloadConverter,
  type Payload,
  UndefinedPayloadConverter,
} from "@temporalio/common";
import { hasLargeNumber, parseJson, writeJson } from "../../core/json/exact-json.ts";

class ExactJsonConverter extends JsonPayloadConverter {
  override toPayload(value: unknown): Payload | undefined {
    // The SDK's converter gives `undefined` for a value that it cannot write.
    const payload = super.toPayload(value);
    if (payload !== undefined || !hasLargeNumber(value)) return payload;
    return { ...super.toPayload(null), data: new TextEncoder().encode(writeJson(value)) };
  }

  override fromPayload<T>(payload: Payload): T {
    const value = super.fromPayload<T>(payload);
    return hasLargeNumber(value) ? parseJson<T>(new TextDecoder().decode(payload.data ?? undefined)) : value;
  }
}

export const payloadConverter = new CompositePayloadConverter(
  new UndefinedPayloadConverter(),
  new BinaryPayloadConverter(),
  new ExactJsonConverter(),
);
