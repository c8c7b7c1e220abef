import { describe, expect, it } from "vitest";
import { onGateway, parseQueuePath, proxyTarget, QUEUE_METHODS, TREES, treeOfHost } from "./paths.ts";

const ID = "019a1b2c-0000-7000-8000-000000000000";

describe("paths of the queue", () => {
  it.each([
    ["/fal-ai/qwen-image", { action: "submit", endpoint: "fal-ai/qwen-image" }],
    ["/fal-ai/qwen-image/", { action: "submit", endpoint: "fal-ai/qwen-image" }],
    ["//fal-ai//flux//dev/", { action: "submit", endpoint: "fal-ai/flux/dev" }],
    ["/workflows/u/n/extra/p", { action: "submit", endpoint: "workflows/u/n/extra/p" }],
    ["/workflows/execute", { action: "submit", endpoint: "workflows/execute" }],
  ])("%s submits", (path, expected) => expect(parseQueuePath(path)).toEqual(expected));

  describe.each([
    ["short", "fal-ai/wan"],
    ["full", "fal-ai/wan/v2.2-a14b/text-to-video"],
    ["namespaced", "workflows/u/n"],
    ["without a name", "workflows/execute"],
    // fal's JavaScript client makes this of it.
    ["with an undefined name", "workflows/execute/undefined"],
    ["with an alias that is called requests", "fal-ai/requests"],
  ])("%s form", (_form, endpoint) => {
    it.each([
      ["", "result"],
      ["/", "result"],
      ["/response", "result"],
      ["/status", "status"],
      ["/status/", "status"],
      ["//status//stream/", "stream"],
      ["/cancel", "cancel"],
      ["/rerun", "rerun"],
    ])("…/requests/{id}%s", (suffix, action) =>
      expect(parseQueuePath(`/${endpoint}/requests/${ID}${suffix}`)).toEqual({
        action,
        endpoint,
        requestId: ID,
      }),
    );
  });

  it.each([
    "/",
    "",
    "/fal-ai",
    "/fal-ai/x/requests",
    "/fal-ai/x/requests/",
    `/fal-ai/x/requests/${ID}/unknown`,
    `/fal-ai/x/requests/${ID}/status/stream/more`,
    `/fal-ai/x/requests/${ID}/STATUS`,
    `/fal-ai/x/requests/${ID}/constructor`,
    `/fal-ai/x/requests/${ID}/__proto__`,
    `/fal-ai/x/requests/${ID}/toString`,
    "/fal-ai/%2e%2e",
    "/queue/fal-ai/x",
    "/v1/x",
  ])("%s fits no shape", (path) => expect(parseQueuePath(path)).toBeUndefined());

  it("pass a malformed id on, to be refused as unknown like any other", () =>
    expect(parseQueuePath("/a/b/requests/..%2f..%2fetc/status")).toMatchObject({
      action: "status",
      requestId: "..%2f..%2fetc",
    }));

  it("have one method for each action", () =>
    expect(QUEUE_METHODS).toEqual({
      submit: "POST",
      status: "GET",
      stream: "GET",
      result: "GET",
      cancel: "PUT",
      rerun: "POST",
    }));
});

describe("proxy targets", () => {
  it.each([
    ["https://queue.fal.run/fal-ai/x", "/queue/fal-ai/x"],
    ["https://queue.fal.run/fal-ai/x/requests/1/status?logs=1", "/queue/fal-ai/x/requests/1/status?logs=1"],
    ["http://queue.fal.run/a/b", "/queue/a/b"],
    ["https://QUEUE.fal.run:443/a/b", "/queue/a/b"],
    ["https://queue.falrun.com/a/b", "/queue/a/b"],
    ["https://fal.run/a/b?x=%20y", "/run/a/b?x=%20y"],
    ["https://rest.alpha.fal.ai/storage/upload/initiate", "/rest/storage/upload/initiate"],
    ["https://rest.fal.ai/tokens/", "/rest/tokens/"],
    ["https://v3.fal.media/files/a.png", "/files/a.png"],
    ["https://v3b.fal.media/files/b/ab/a.png?x=1", "/files/b/ab/a.png?x=1"],
    ["https://fal.media/a.png", "/files/a.png"],
    ["https://ws.fal.run/a/b", "/ws/a/b"],
    ["https://api.fal.ai/v1/models?limit=1", "/v1/models?limit=1"],
    [
      "https://fal.ai/api/openapi/queue/openapi.json?endpoint_id=a/b",
      "/api/openapi/queue/openapi.json?endpoint_id=a/b",
    ],
    ["https://queue.fal.run", "/queue/"],
    ["https://queue.fal.run/a/b#fragment", "/queue/a/b"],
  ])("%s → %s", (url, path) => expect(proxyTarget(url)).toBe(path));

  it.each([
    "",
    "/queue/a/b",
    "//queue.fal.run/a/b",
    "not a url",
    "https://example.com/a",
    "http://127.0.0.1:8081/v1/keys",
    "http://169.254.169.254/latest/meta-data",
    "https://queue.fal.run.example.com/a",
    "https://example.com/queue.fal.run",
    "https://queue.fal.run@example.com/a",
    "https://user:pass@queue.fal.run/a/b",
    "https://user@queue.fal.run/a/b",
    "https://queue.fal.run:8443/a/b",
    "https://queue.fal.run./a/b",
    "https://sub.queue.fal.run/a/b",
    "https://queue.fal.run%2eexample.com/a",
    "ftp://queue.fal.run/a",
    "file://queue.fal.run/etc/passwd",
    "ws://queue.fal.run/a",
    "javascript:alert(1)",
    "data:text/plain,queue.fal.run",
    "https://[::1]/a",
    // Empty first segments: on the tree at the root they would name a host.
    "https://fal.ai//evil.example/llms.txt",
    "https://fal.ai//[",
    "https://fal.ai/\\evil.example/llms.txt",
    "https://fal.ai/.//evil.example/llms.txt",
  ])("refuses %j", (url) => expect(proxyTarget(url)).toBeUndefined());

  it.each([
    "https://queue.fal.run/../../v1/keys",
    "https://queue.fal.run/%2e%2e/%2e%2e/v1/keys",
    "https://queue.fal.run/..\\..\\v1/keys",
    "https://queue.fal.run\\@example.com/a",
    "https://queue.fal.run//example.com/a",
    "https://queue.fal.run/\t/example.com",
  ])("%j cannot leave its tree", (url) => {
    const path = proxyTarget(url);
    expect(path).toMatch(/^\/queue\//);
    const inner = new URL(path ?? "", "http://localhost:8080/api/fal/proxy");
    expect(inner.host).toBe("localhost:8080");
    expect(inner.pathname).toMatch(/^\/queue\//);
  });
});

describe("trees by host name", () => {
  it.each([
    ["queue.fal.run", TREES.queue],
    ["queue.fal.run:8443", TREES.queue],
    ["falrun.com", TREES.run],
    ["rest.alpha.fal.ai", TREES.rest],
    ["fal.media:443", TREES.files],
  ])("%s", (authority, tree) => expect(treeOfHost(authority)).toBe(tree));

  it.each([
    "localhost:8080",
    "127.0.0.1",
    "[::1]:8443",
    "[::1]",
    "",
    ":",
    "example.com",
    "queue.fal.run.",
    "xqueue.fal.run",
    "run",
    "constructor",
  ])("finds none for %j", (authority) => expect(treeOfHost(authority)).toBeUndefined());

  it("no name belongs to two trees", () => {
    const names = Object.values(TREES).flatMap(({ hosts }) => [...hosts]);
    expect(new Set(names).size).toBe(names.length);
  });

  it.each([
    [TREES.queue, "/a/b", "/queue/a/b"],
    [TREES.queue, "/queue/a/b", "/queue/queue/a/b"],
    [TREES.files, "/files/a.png", "/files/a.png"],
    [TREES.files, "/filesystem", "/files/filesystem"],
    [TREES.files, "/queue/a/b", "/files/queue/a/b"],
    [TREES.platform, "/health/live", "/v1/health/live"],
  ])("a path of %j stays in its tree: %s → %s", (tree, path, expected) =>
    expect(onGateway(tree, path)).toBe(expected),
  );
});
