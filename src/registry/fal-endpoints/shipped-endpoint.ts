import type { JsonObject } from "../../core/json/json.ts";
import type { EndpointContract } from "../fal-import/openapi-document.ts";

/** An endpoint whose schemas come with the platform, and what serves it. */
export interface ShippedEndpoint extends EndpointContract {
  /** Absent: nothing here serves the endpoint. */
  servedBy?: { engine: string; runner: string; memoryMiB?: number; parameters?: JsonObject };
  /** The reason why nothing here does. */
  unserved?: string;
}

export type ShippedEndpoints = Record<string, ShippedEndpoint>;
