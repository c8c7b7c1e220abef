import type { Json, JsonObject } from "../../core/json.ts";

/** What the endpoints take and give, for pipelines that call them. */
export interface EndpointTypes {
  "tempera/stub": {
    input: JsonObject;
    output: { echo: Json; attempt: number; seed: number | null; file?: JsonObject };
  };
}
