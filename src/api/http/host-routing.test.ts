import { Hono } from "hono";
import { describe, expect, it } from "vitest";
import { TREES } from "../../fal/index.ts";
import { addressOf, rawPath } from "./address.ts";
import { createGetPath, trustForwardedOrigin } from "./host-routing.ts";

/**
 * Calls an application that answers with the path it was dispatched to and the addresses it would give out.
 */
function dispatch(
  url: string,
  {
    trust = false,
    publicUrl,
    headers = {},
  }: { trust?: boolean; publicUrl?: string; headers?: Record<string, string> } = {},
) {
  const app = new Hono({ getPath: createGetPath(trust) });
  if (trust) app.use(trustForwardedOrigin);
  app.all("*", (c) =>
    c.json({
      path: c.req.path,
      raw: rawPath(c),
      addresses: Object.fromEntries(
        (["queue", "run", "rest", "files"] as const).map((tree) => [tree, addressOf(c, tree, publicUrl)]),
      ),
    }),
  );
  return Promise.resolve(app.request(new Request(url, { headers }))).then(
    (response) =>
      response.json() as Promise<{ path: string; raw: string; addresses: Record<string, string> }>,
  );
}

describe("a call by prefix", () => {
  it.each([
    "http://localhost:8080",
    "https://127.0.0.1:8443",
    "http://[::1]:8080",
    "https://inference.example.com",
    "https://fal.run.example.com",
  ])("%s", async (origin) => {
    const answer = await dispatch(`${origin}/queue/a/b/?logs=1`);
    expect(answer).toMatchObject({ path: "/queue/a/b", raw: "/queue/a/b/" });
    expect(answer.addresses).toEqual({
      queue: `${origin}/queue`,
      run: `${origin}/run`,
      rest: `${origin}/rest`,
      files: `${origin}/files`,
    });
  });

  it("gets addresses below the public URL when there is one", async () => {
    const { addresses } = await dispatch("http://10.0.0.7:8080/queue/a/b", {
      publicUrl: "https://x.example.com/tempera",
    });
    expect(addresses).toMatchObject({
      queue: "https://x.example.com/tempera/queue",
      files: "https://x.example.com/tempera/files",
    });
  });
});

describe("a call by one of fal's host names", () => {
  it.each(Object.values(TREES).flatMap(({ hosts, prefix }) => hosts.map((host) => [host, prefix] as const)))(
    "%s is dispatched to the prefix %j",
    async (host, prefix) => {
      for (const authority of [host, `${host}:8443`, host.toUpperCase()]) {
        const answer = await dispatch(`https://${authority}/a/b%20c?x=/y`);
        expect(answer).toMatchObject({ path: `${prefix}/a/b c`, raw: `${prefix}/a/b%20c` });
      }
      expect((await dispatch(`https://${host}/`)).path).toBe(prefix || "/");
    },
  );

  it("gets addresses on the same host without a prefix, and on fal's names for the other trees", async () => {
    expect((await dispatch("https://queue.falrun.com/a/b")).addresses).toEqual({
      queue: "https://queue.falrun.com",
      run: "https://fal.run",
      rest: "https://rest.fal.ai",
      files: "https://v3.fal.media/files",
    });
    expect((await dispatch("http://rest.fal.ai:8080/tokens/")).addresses).toMatchObject({
      rest: "http://rest.fal.ai:8080",
      files: "http://v3.fal.media:8080/files",
    });
  });

  it("gets the public URL for the trees whose names it did not use", async () => {
    const { addresses } = await dispatch("https://rest.fal.ai/tokens/", {
      publicUrl: "https://x.example.com",
    });
    expect(addresses).toMatchObject({ rest: "https://rest.fal.ai", files: "https://x.example.com/files" });
  });

  it("has the prefix once on the host of the files, whose own paths contain it", async () => {
    expect(await dispatch("https://v3.fal.media/files/ab/c.png")).toMatchObject({
      path: "/files/ab/c.png",
      raw: "/files/ab/c.png",
    });
  });

  it("cannot leave the tree of its host by any path", async () => {
    for (const path of ["/../health/live", "/%2e%2e/health/live", "//health/live", "/health/live"])
      expect((await dispatch(`https://queue.fal.run${path}`)).path).toMatch(/^\/queue\//);
  });
});

describe("a call through a proxy", () => {
  const headers = { "x-forwarded-proto": "https", "x-forwarded-host": "queue.fal.run" };

  it("ignores the forwarded headers unless the configuration trusts them", async () => {
    const answer = await dispatch("http://10.0.0.7:8080/queue/a/b", { headers });
    expect(answer).toMatchObject({ path: "/queue/a/b", addresses: { queue: "http://10.0.0.7:8080/queue" } });
  });

  it("uses the trusted headers for the tree and the addresses", async () => {
    const answer = await dispatch("http://10.0.0.7:8080/a/b", { headers, trust: true });
    expect(answer).toMatchObject({
      path: "/queue/a/b",
      raw: "/queue/a/b",
      addresses: { queue: "https://queue.fal.run" },
    });
  });

  it("uses the first of several values, and one header without the other", async () => {
    const chained = { "x-forwarded-proto": "https, http", "x-forwarded-host": "x.example.com:444, 10.0.0.8" };
    expect(
      (await dispatch("http://10.0.0.7/queue/a/b", { headers: chained, trust: true })).addresses.queue,
    ).toBe("https://x.example.com:444/queue");
    expect(
      (await dispatch("http://x/queue/a/b", { headers: { "x-forwarded-proto": "https" }, trust: true }))
        .addresses.queue,
    ).toBe("https://x/queue");
  });

  it.each([
    "javascript:alert(1)",
    "x.example.com/evil",
    "a b",
    'x"y',
    "user@x",
    "[::1",
    "-x",
    "x:99999999",
    "",
  ])("ignores what cannot be a host: %j", async (host) => {
    const answer = await dispatch("http://x/queue/a/b", {
      headers: { "x-forwarded-host": host, "x-forwarded-proto": "gopher" },
      trust: true,
    });
    expect(answer.addresses.queue).toBe("http://x/queue");
  });
});
