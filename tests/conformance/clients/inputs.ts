/** Inputs that the checks of several clients use. */

/** A model that the suite's worker does not serve, so that its requests stay in the queue. */
export const WAITING_MODEL = "fal-ai/wan/v2.2-a14b/image-to-video";

/** The models that the suite's worker serves. */
export const SERVED_MODELS = [
  "tempera/stub",
  "fal-ai/qwen-image",
  "fal-ai/qwen-image/image-to-image",
  "fal-ai/wan/v2.2-a14b/text-to-video",
];

/** A PNG of one black pixel. */
export const IMAGE =
  "data:image/png;base64," +
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==";
