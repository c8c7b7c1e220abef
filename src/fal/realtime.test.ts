import { describe, expect, it, vi } from "vitest";
import {
  errorMessage,
  mayLookLikeFrame,
  parseRealtimePath,
  parseSocketAddress,
  readMaxBuffering,
} from "./realtime.ts";

describe("the address of an upgrade", () => {
  it.each([
    ["localhost:8080", "/fal-ai/lcm/realtime?fal_jwt_token=a", "run", "/fal-ai/lcm/realtime"],
    ["localhost:8080", "/run/fal-ai/lcm/realtime", "run", "/fal-ai/lcm/realtime"],
    ["fal.run", "/fal-ai/lcm/realtime/realtime", "run", "/fal-ai/lcm/realtime/realtime"],
    ["FAL.RUN:8443", "/fal-ai/lcm/", "run", "/fal-ai/lcm/"],
    ["localhost", "/ws/fal-ai/lcm", "ws", "/fal-ai/lcm"],
    ["ws.fal.run", "/fal-ai/lcm/stream", "ws", "/fal-ai/lcm/stream"],
    ["localhost", "/fal-ai%2Flcm%2frealtime", "run", "/fal-ai/lcm/realtime"],
    ["ws.fal.run", "/fal-ai%2Flcm", "ws", "/fal-ai/lcm"],
  ])("%s%s", (host, target, tree, path) =>
    expect(parseSocketAddress(host, target)).toMatchObject({ tree, path }),
  );

  it.each([
    ["localhost", "/queue/fal-ai/lcm"],
    ["localhost", "/health/live"],
    ["localhost", "/"],
    ["queue.fal.run", "/fal-ai/lcm"],
    ["localhost", "/wsx/lcm/../.."],
    ["localhost", "/fal-ai/lcm/requests/x"],
  ])("%s%s is not served", (host, target) => expect(parseSocketAddress(host, target)).toBeUndefined());

  it("keeps the query", () =>
    expect(
      parseSocketAddress("fal.run", "/a/b/realtime?fal_jwt_token=x.y&max_buffering=2")?.query.get(
        "max_buffering",
      ),
    ).toBe("2"));
});

describe("the endpoint of a realtime path", () => {
  const models = new Set(["fal-ai/lcm", "fal-ai/fast/realtime", "fal-ai/fast", "workflows/u/n"]);
  const parse = (path: string) => parseRealtimePath(path, (endpoint) => models.has(endpoint));

  it.each([
    ["/fal-ai/lcm/realtime", "fal-ai/lcm", "/realtime", false],
    ["/fal-ai/lcm/realtime/realtime", "fal-ai/lcm", "/realtime", false],
    ["/fal-ai/lcm/custom", "fal-ai/lcm", "/custom", false],
    ["/fal-ai/lcm/a/b/realtime", "fal-ai/lcm", "/a/b/realtime", false],
    ["/fal-ai/lcm", "fal-ai/lcm", "", true],
    ["/fal-ai/lcm/", "fal-ai/lcm", "", true],
    ["/fal-ai/fast/realtime", "fal-ai/fast/realtime", "/realtime", false],
    ["/fal-ai/fast/realtime/realtime", "fal-ai/fast/realtime", "/realtime", false],
    ["/workflows/u/n/realtime", "workflows/u/n", "/realtime", false],
  ])("%s", (path, endpoint, rest, raw) => expect(parse(path)).toEqual({ endpoint, path: rest, raw }));

  it.each(["/fal-ai/unknown/realtime", "/fal-ai", "/", ""])("%s has none", (path) =>
    expect(parse(path)).toBeUndefined(),
  );
});

describe("max_buffering", () => {
  it.each([
    [null, undefined],
    ["1", 1],
    ["60", 60],
    ["0", "invalid"],
    ["61", "invalid"],
    ["2.5", "invalid"],
    ["", "invalid"],
    ["1e1", "invalid"],
  ])("%j", (value, expected) => expect(readMaxBuffering(value)).toBe(expected));
});

it("reports an engine's failure as INTERNAL_ERROR, an input's faults, and a refusal by its code", () => {
  expect(JSON.parse(errorMessage({ code: "runner_server_error", message: "no" }))).toEqual({
    type: "x-fal-error",
    error: "INTERNAL_ERROR",
    reason: "no",
  });
  const faults = [{ loc: ["body", "steps"], msg: "too many", type: "less_than_equal" }];
  expect(JSON.parse(errorMessage({ code: "input_invalid", message: "x", faults }))).toMatchObject({
    error: "INVALID_INPUT",
    reason: "steps: too many",
    detail: faults,
  });
  expect(JSON.parse(errorMessage({ code: "endpoint_unknown", message: "x" })).error).toBe("ENDPOINT_UNKNOWN");
});

it("sends as bytes whatever clients may take for a start or end frame, without parsing it", () => {
  const parse = vi.spyOn(JSON, "parse");
  expect(mayLookLikeFrame('{"type":"x","request_id":"y"}')).toBe(true);
  expect(mayLookLikeFrame('{"echo":{"type":"x","request_id":"y"}}')).toBe(true); // bytes are never wrong
  expect(mayLookLikeFrame('["type","request_id"]')).toBe(false);
  expect(mayLookLikeFrame('{"type":"x"}')).toBe(false);
  expect(mayLookLikeFrame(JSON.stringify({ echo: '{"type":"x","request_id":"y"}' }))).toBe(false);
  expect(mayLookLikeFrame('"type" "request_id"')).toBe(false);
  expect(parse).not.toHaveBeenCalled();
  parse.mockRestore();
});
