import { describe, expect, it } from "vitest";
import { tokenAllows } from "./token-caller.ts";

describe("a token", () => {
  it.each([
    ["lcm", "fal-ai/lcm/realtime"],
    ["lcm", "fal-ai/lcm"],
    ["n", "workflows/u/n/realtime"],
    ["fal-ai/lcm", "fal-ai/lcm/realtime/realtime"],
    ["fal-ai/lcm/realtime", "fal-ai/lcm"],
    ["fal-ai/lcm/stream", "fal-ai/lcm/stream"],
    ["fal-ai/lcm/custom", "fal-ai/lcm/custom"],
    ["fal-ai/lcm", "/fal-ai/lcm/custom/"],
    ["tempera/stream", "tempera/stream"],
    ["tempera/stream/realtime", "tempera/stream/realtime"],
    ["tempera/realtime", "tempera/realtime/stream"],
    ["stream", "tempera/stream/stream"],
    ["realtime", "tempera/realtime"],
    ["workflows/u/stream", "workflows/u/stream/realtime"],
  ])("for %s permits %s", (allowed, path) => expect(tokenAllows(allowed, path)).toBe(true));

  it.each([
    ["lcm", "fal-ai/flux/realtime"],
    ["lcm", "lcm/flux/realtime"],
    ["fal-ai", "fal-ai/lcm/realtime"],
    ["fal-ai/lcm/fast", "fal-ai/lcm/realtime"],
    ["fal-ai/lcm/custom", "fal-ai/lcm/other"],
    ["fal-ai/lc", "fal-ai/lcm"],
    ["", "fal-ai/lcm"],
    ["/", "fal-ai/lcm"],
    ["u", "workflows/u/n"],
    ["tempera/stream", "other/tempera/stream"],
    ["tempera/stream", "tempera/realtime"],
    ["tempera/realtime", "tempera/lcm/realtime"],
    ["workflows/u/stream", "workflows/u/n/realtime"],
    ["stream", "tempera/lcm/stream"],
  ])("for %s does not permit %s", (allowed, path) => expect(tokenAllows(allowed, path)).toBe(false));
});
