import { Hono } from "hono";
import { describe, expect, it } from "vitest";
import { TREES } from "../../fal/index.ts";
import { addressOf, rawPath } from "./address.ts";
import { believeForwarded, createGetPath } from "./host-routing.ts";

/**
 * An application that says where a request was taken to be meant for, and how its caller is given addresses.
 */
function say(
  url: string,
  {
    trust = false,
    publicUrl,
    headers = {},
  }: { trust?: boolean; publicUrl?: string; headers?: Record<string, string> } = {},
) {
  const app = new Hono({ getPath: createGetPath(trust) });
  if (trust) app.use(believeForwarded);
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

describe("by prefix", () => {
  it.each([
    "http://localhost:8080",
    "https://127.0.0.1:8443",
    "http://[::1]:8080",
    "https://inference.example.com",
    "https://fal.run.example.com",
  ])("%s", async (origin) => {
    const said = await say(`${origin}/queue/a/b/?logs=1`);
    expect(said).toMatchObject({ path: "/queue/a/b", raw: "/queue/a/b/" });
    expect(said.addresses).toEqual({
      queue: `${origin}/queue`,
      run: `${origin}/run`,
      rest: `${origin}/rest`,
      files: `${origin}/files`,
    });
  });

  it("below the public URL when there is one", async () => {
    const { addresses } = await say("http://10.0.0.7:8080/queue/a/b", {
      publicUrl: "https://x.example.com/tempera",
    });
    expect(addresses).toMatchObject({
      queue: "https://x.example.com/tempera/queue",
      files: "https://x.example.com/tempera/files",
    });
  });
});

describe("by fal's host names", () => {
  it.each(Object.values(TREES).flatMap(({ hosts, prefix }) => hosts.map((host) => [host, prefix] as const)))(
    "%s is %j",
    async (host, prefix) => {
      for (const authority of [host, `${host}:8443`, host.toUpperCase()]) {
        const said = await say(`https://${authority}/a/b%20c?x=/y`);
        expect(said).toMatchObject({ path: `${prefix}/a/b c`, raw: `${prefix}/a/b%20c` });
      }
      expect((await say(`https://${host}/`)).path).toBe(prefix || "/");
    },
  );

  it("addresses follow: the same host, without a prefix; the other trees by their own names", async () => {
    expect((await say("https://queue.falrun.com/a/b")).addresses).toEqual({
      queue: "https://queue.falrun.com",
      run: "https://fal.run",
      rest: "https://rest.fal.ai",
      files: "https://v3.fal.media/files",
    });
    expect((await say("http://rest.fal.ai:8080/tokens/")).addresses).toMatchObject({
      rest: "http://rest.fal.ai:8080",
      files: "http://v3.fal.media:8080/files",
    });
  });

  it("the public URL stands for the trees that the caller did not come by", async () => {
    const { addresses } = await say("https://rest.fal.ai/tokens/", { publicUrl: "https://x.example.com" });
    expect(addresses).toMatchObject({ rest: "https://rest.fal.ai", files: "https://x.example.com/files" });
  });

  it("the files' host has the prefix in its own paths, once", async () => {
    expect(await say("https://v3.fal.media/files/ab/c.png")).toMatchObject({
      path: "/files/ab/c.png",
      raw: "/files/ab/c.png",
    });
  });

  it("no path of a host leaves its tree", async () => {
    for (const path of ["/../health/live", "/%2e%2e/health/live", "//health/live", "/health/live"])
      expect((await say(`https://queue.fal.run${path}`)).path).toMatch(/^\/queue\//);
  });
});

describe("behind a proxy", () => {
  const headers = { "x-forwarded-proto": "https", "x-forwarded-host": "queue.fal.run" };

  it("is not believed unless the configuration says so", async () => {
    const said = await say("http://10.0.0.7:8080/queue/a/b", { headers });
    expect(said).toMatchObject({ path: "/queue/a/b", addresses: { queue: "http://10.0.0.7:8080/queue" } });
  });

  it("decides the tree and the addresses when it is", async () => {
    const said = await say("http://10.0.0.7:8080/a/b", { headers, trust: true });
    expect(said).toMatchObject({
      path: "/queue/a/b",
      raw: "/queue/a/b",
      addresses: { queue: "https://queue.fal.run" },
    });
  });

  it("the first of several counts; one of the two is enough", async () => {
    const chained = { "x-forwarded-proto": "https, http", "x-forwarded-host": "x.example.com:444, 10.0.0.8" };
    expect((await say("http://10.0.0.7/queue/a/b", { headers: chained, trust: true })).addresses.queue).toBe(
      "https://x.example.com:444/queue",
    );
    expect(
      (await say("http://x/queue/a/b", { headers: { "x-forwarded-proto": "https" }, trust: true })).addresses
        .queue,
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
  ])("what cannot be a host is not believed: %j", async (host) => {
    const said = await say("http://x/queue/a/b", {
      headers: { "x-forwarded-host": host, "x-forwarded-proto": "gopher" },
      trust: true,
    });
    expect(said.addresses.queue).toBe("http://x/queue");
  });
});
