/**
 * The endpoints of fal whose schemas come with the platform: Qwen-Image, Wan 2.2 and MMAudio v2. Fields,
 * options and defaults are those of `libs/client/src/types/endpoints.ts` of fal-ai/fal-js at 381105e.
 */
import { IMAGE_ENDPOINTS } from "./image-endpoints.ts";
import { OTHER_ENDPOINTS } from "./other-endpoints.ts";
import type { ShippedEndpoints } from "./shipped-endpoint.ts";
import { VIDEO_ENDPOINTS } from "./video-endpoints.ts";

export const SHIPPED_ENDPOINTS: ShippedEndpoints = {
  ...IMAGE_ENDPOINTS,
  ...VIDEO_ENDPOINTS,
  ...OTHER_ENDPOINTS,
};
