/** The model and the inputs of the gradient engines, the plain one and the typed one. */
import type { describeEngine } from "../../../tests/conformance/engine/engine-suite.ts";

export const GRADIENT: Omit<Parameters<typeof describeEngine>[1], "program"> = {
  load: {
    endpoint: "tempera/gradient",
    version: "1.0.0",
    runner: "gradient",
    folder: import.meta.dirname,
    parametersJson: '{"tint": [0.4, 0.7, 1]}',
    slots: 4,
  },
  inputs: {
    quick: { side: 500, seed: 3 },
    previewed: { side: 64 },
    checkpointed: { side: 64 },
    slow: { side: 200, delay_ms: 5000 },
    bad: { side: "wide" },
  },
};
