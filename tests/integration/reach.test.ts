/**
 * The ways in (contract §1, cases 1-13): fal's unmodified clients, its server proxy, a browser's preflight,
 * bare HTTP.
 */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { connect, type PeerCertificate } from "node:tls";
import { createFalClient } from "@fal-ai/client";
import { Hono } from "hono";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openLocalAuthority } from "../../src/adapters/tls/local-authority.ts";
import { listen } from "../../src/api/http/listen.ts";
import { readyText } from "../../src/bin/all-in-one.ts";
import { systemClock } from "../../src/core/operations/clock.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { pythonEnv } from "../../src/dev/services/python-env.ts";
import { TREES } from "../../src/fal/index.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const PROGRAMS = join(import.meta.dirname, "reach");
const STUB = "tempera/stub";

let test: TestPlatform;
let tlsPort: string;
let caFile: string;
let python: string;
beforeAll(async () => {
  python = await pythonEnv(join(PROJECT, "tests/setup/python/fal-client.txt"), {
    log: (line) => process.stderr.write(`[setup] ${line}\n`),
  });
  test = await startTestPlatform({ TEMPERA_TLS: "1", TEMPERA_TLS_PORT: String(await freePort()) });
  tlsPort = new URL(test.platform.tls?.url ?? "").port;
  caFile = test.platform.tls?.caFile ?? "";
});
afterAll(() => test[Symbol.asyncDispose]());

interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Record<string, unknown>;
}

/**
 * Sends one request with the given `Host`, over TLS when `tls` is set.
 */
const raw = (
  path: string,
  { host, method = "GET", headers = {}, body, tls }: RawOptions = {},
): Promise<Answer> =>
  new Promise((done, fail) => {
    const to = {
      host: "127.0.0.1",
      path,
      method,
      agent: false as const,
      headers: { host: host ?? "localhost", ...headers },
    };
    const request = tls
      ? httpsRequest({ ...to, port: tlsPort, servername: host ?? "localhost", ca: readFileSync(caFile) })
      : httpRequest({ ...to, port: new URL(test.platform.url).port });
    request.once("error", fail).once("response", (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk) => {
        text += chunk;
      });
      response.once("end", () =>
        done({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: text === "" ? {} : JSON.parse(text),
        }),
      );
    });
    request.end(body);
  });
interface RawOptions {
  host?: string;
  method?: string;
  headers?: Record<string, string>;
  body?: string;
  tls?: boolean;
}
const keyed = (): Record<string, string> => ({
  authorization: `Key ${test.platform.key}`,
  "content-type": "application/json",
});

/** Runs a program without this process's environment, which could name servers. Resolves with its output. */
const run = async (
  program: string,
  args: string[],
  env: Record<string, string>,
  cwd = PROJECT,
): Promise<string> => {
  const { PATH = "", HOME = "" } = process.env;
  const [failure, output, errors] = await new Promise<[Error | null, string, string]>((done) =>
    execFile(program, args, { cwd, env: { PATH, HOME, ...env } }, (...outcome) => done(outcome)),
  );
  expect(failure, errors).toBeNull();
  return output;
};

describe("fal's host names, on both ports", () => {
  it.each([true, false])("gives addresses on the host of the request (TLS %s)", async (tls) => {
    const origin = `${tls ? "https" : "http"}://queue.fal.run`;
    const submitted = await raw(`/${STUB}`, {
      host: "queue.fal.run",
      method: "POST",
      headers: keyed(),
      body: "{}",
      tls,
    });
    expect(submitted.status).toBe(200);
    const { request_id: id } = submitted.body;
    expect(submitted.body).toMatchObject({
      status_url: `${origin}/${STUB}/requests/${id}/status`,
      response_url: `${origin}/${STUB}/requests/${id}`,
      cancel_url: `${origin}/${STUB}/requests/${id}/cancel`,
    });
    const status = await raw(`/${STUB}/requests/${id}/status`, {
      host: "queue.fal.run",
      headers: keyed(),
      tls,
    });
    expect([200, 202]).toContain(status.status);
    expect(status.body.response_url).toBe(`${origin}/${STUB}/requests/${id}`);
    const other = await raw(`/${STUB}/requests/${id}/status/`, {
      host: "queue.falrun.com",
      headers: keyed(),
      tls,
    });
    expect([200, 202]).toContain(other.status); // it may have ended in between
    for await (const { status: state } of test.client.follow(STUB, String(id)))
      if (state === "COMPLETED") break;
    expect(
      (await raw(`/${STUB}/requests/${id}`, { host: "queue.fal.run", headers: keyed(), tls })).status,
    ).toBe(200);
  });

  it("serves any other name by prefix", async () => {
    for (const host of ["localhost", "127.0.0.1:8080", "gpu.example.com", "[::1]:9"]) {
      const { body } = await raw(`/queue/${STUB}`, { host, method: "POST", headers: keyed(), body: "{}" });
      expect(body.status_url).toBe(`http://${host}/queue/${STUB}/requests/${body.request_id}/status`);
    }
  });

  it("ignores X-Forwarded-Host unless it is configured", async () => {
    const headers = { ...keyed(), "x-forwarded-host": "evil.example", "x-forwarded-proto": "https" };
    const { body } = await raw(`/queue/${STUB}`, { method: "POST", headers, body: "{}" });
    expect(body.status_url).toMatch(/^http:\/\/localhost\/queue\//);
  });

  it("gives the files of an output at the address that each caller uses", async () => {
    const body = JSON.stringify({ artifact_bytes: 100 });
    const secure = `localhost:${tlsPort}`;
    const ran = await raw(`/run/${STUB}`, {
      method: "POST",
      headers: { ...keyed(), host: secure },
      body,
      tls: true,
    });
    const { url } = ran.body.file as { url: string };
    expect(url).toMatch(new RegExp(`^https://${secure}/files/`));
    const requestId = ran.headers["x-fal-request-id"];
    for (const [host, root] of [
      [new URL(test.platform.url).host, `${test.platform.url}/files/`],
      ["gateway.internal", "http://gateway.internal/files/"],
      ["queue.fal.run", "http://v3.fal.media/files/"],
    ] as const) {
      const path = host === "queue.fal.run" ? `/${STUB}` : `/queue/${STUB}`;
      const read = await raw(`${path}/requests/${requestId}`, { host, headers: keyed() });
      expect((read.body.file as { url: string }).url).toBe(url.replace(`https://${secure}/files/`, root));
    }
  });

  it("serves an artifact on the files' host", async () => {
    const { data } = await createFalClient({
      credentials: test.platform.key,
      proxyUrl: proxyOf(test.platform.url),
    }).subscribe(STUB, {
      input: { artifact_bytes: 100 },
      pollInterval: 50,
    });
    const { pathname } = new URL((data as { file: { url: string } }).file.url);
    for (const host of TREES.files.hosts) {
      const answer = await fetch(`${test.platform.url}${pathname}`);
      expect((await answer.arrayBuffer()).byteLength).toBe(100);
      expect((await raw(pathname, { host, method: "HEAD", tls: true })).status).toBe(200);
    }
  });

  it("answers paths of other protocols with the address that serves them", async () => {
    const socket = await raw("/tempera/stub", {
      host: "ws.fal.run",
      method: "POST",
      headers: keyed(),
      body: "{}",
    });
    expect(socket.status).toBe(426);
    expect(socket.body.detail).toMatch(/^This address speaks WebSocket/);
    const platform = await raw("/v1/models", { host: "api.fal.ai", headers: keyed() });
    expect(platform.status).toBe(421);
    expect(platform.body.detail).toMatch(/admin service, on the port TEMPERA_ADMIN_PORT/);
  });
});

/** The expected outputs of the programs: the output of a call, and the file that an upload reads back. */
const ECHO = { data: { echo: "one" } };
const UPLOADED = { url: expect.stringMatching(/^https:\/\/v3\.fal\.media\/files\//), text: "hello" };
const UNCHANGED = {
  queue: {
    ...ECHO,
    status_url: expect.stringMatching(/^https:\/\/queue\.fal\.run\/tempera\/stub\/requests\//),
  },
  subscribe: ECHO,
  run: ECHO,
  stream: ECHO,
  upload: UPLOADED,
};

const proxyOf = (url: string) => ({ url: `${url}/api/fal/proxy`, when: "always" as const });

describe("JavaScript, @fal-ai/client", () => {
  /** Translates an address of fal into the one on this server, with the path prefix of its tree. */
  const byPrefix = (url: string): string => {
    const { hostname, pathname, search } = new URL(url);
    const tree = Object.values(TREES).find(({ hosts }) => (hosts as readonly string[]).includes(hostname));
    return tree ? test.platform.url + tree.prefix + pathname.slice(tree.root.length) + search : url;
  };

  const ways: Record<string, () => ReturnType<typeof createFalClient>> = {
    proxyUrl: () => createFalClient({ credentials: test.platform.key, proxyUrl: proxyOf(test.platform.url) }),
    "requestMiddleware that rewrites the host": () =>
      createFalClient({
        credentials: test.platform.key,
        requestMiddleware: async (request) => ({ ...request, url: byPrefix(request.url) }),
      }),
    "a fetch of one's own that rewrites the host": () =>
      createFalClient({
        credentials: test.platform.key,
        fetch: (url, init) => fetch(byPrefix(String(url)), init),
      }),
  };

  describe.each(Object.entries(ways))("%s", (_name, client) => {
    it("run", async () => {
      const { data, requestId } = await client().run(STUB, { input: { prompt: "one" } });
      expect(data).toMatchObject({ echo: "one" });
      expect(requestId).toMatch(/^[0-9a-f-]{36}$/);
    });
    it("queue: streaming and polling", async () => {
      expect(
        (await client().subscribe(STUB, { input: { prompt: "two" }, mode: "streaming" })).data,
      ).toMatchObject({ echo: "two" });
      expect(
        (await client().subscribe(STUB, { input: { prompt: "three" }, pollInterval: 50 })).data,
      ).toMatchObject({ echo: "three" });
    });
    it("stream", async () => {
      const stream = await client().stream(STUB, { input: { prompt: "four" } });
      expect(await stream.done()).toMatchObject({ echo: "four" });
    });
    it("upload", async () => {
      const url = await client().storage.upload(new Blob(["hello"], { type: "text/plain" }));
      expect(await (await fetch(url)).text()).toBe("hello");
    });
  });

  const node = async (program: string, what: string, env: Record<string, string>) =>
    JSON.parse(
      await run(
        process.execPath,
        ["--import", join(PROGRAMS, "resolve-fal.mjs"), join(PROGRAMS, program), what],
        {
          FAL_KEY: test.platform.key,
          REACH_PORT: tlsPort,
          ...env,
        },
      ),
    );

  it.each(Object.entries(UNCHANGED))(
    "no change at all, fal's names lead here and our authority is trusted: %s",
    async (what, expected) => {
      expect(await node("unchanged.mjs", what, { NODE_EXTRA_CA_CERTS: caFile })).toMatchObject(expected);
    },
  );

  it.each(Object.entries({ run: ECHO, subscribe: ECHO, upload: UPLOADED, elsewhere: { status: 400 } }))(
    "fal's server proxy in front: %s",
    async (what, expected) => {
      expect(await node("server-proxy.mjs", what, { NODE_EXTRA_CA_CERTS: caFile })).toMatchObject(expected);
    },
  );
});

describe("Python, fal-client", () => {
  const program = async (what: string, env: Record<string, string>) =>
    JSON.parse(
      await run(python, [join(PROGRAMS, "unchanged.py"), what], {
        SSL_CERT_FILE: caFile,
        FAL_KEY: test.platform.key,
        ...env,
      }),
    );

  it.each(["queue", "subscribe", "run", "stream"])(
    "FAL_RUN_HOST, FAL_QUEUE_RUN_HOST and SSL_CERT_FILE are enough: %s",
    async (what) => {
      const output = await program(what, {
        FAL_RUN_HOST: `localhost:${tlsPort}`,
        FAL_QUEUE_RUN_HOST: `localhost:${tlsPort}/queue`,
      });
      expect(output).toMatchObject(ECHO);
      if (what === "queue")
        expect(output.status_url).toMatch(
          new RegExp(`^https://localhost:${tlsPort}/queue/tempera/stub/requests/`),
        );
      if (what === "subscribe") expect(output.states).toContain("Completed");
    },
  );

  it.each(Object.entries(UNCHANGED))(
    "no change at all, fal's names lead here and our authority is trusted: %s",
    async (what, expected) => {
      const resolves = { PYTHONPATH: PROGRAMS, PYTHONDONTWRITEBYTECODE: "1", REACH_PORT: tlsPort };
      expect(await program(what, resolves)).toMatchObject(expected);
    },
  );
});

describe("the proxy form", () => {
  const proxied = (target: string, init: RequestInit = {}): Promise<Response> =>
    test.call("/api/fal/proxy", {
      ...init,
      headers: { "content-type": "application/json", "x-fal-target-url": target, ...init.headers },
    });

  it("gives this server's addresses for any target host", async () => {
    const submitted = await proxied(`https://queue.fal.run/${STUB}`, { method: "POST", body: "{}" });
    const body = (await submitted.json()) as { status_url: string; request_id: string };
    expect(body.status_url).toBe(`${test.platform.url}/queue/${STUB}/requests/${body.request_id}/status`);
  });

  it.each(["rest.fal.ai", "rest.alpha.fal.ai"])("uploads through %s", async (host) => {
    const initiated = await proxied(`https://${host}/storage/upload/initiate?storage_type=fal-cdn-v3`, {
      method: "POST",
      body: JSON.stringify({ content_type: "text/plain", file_name: "a.txt" }),
    });
    const { upload_url, file_url } = (await initiated.json()) as { upload_url: string; file_url: string };
    const origin = "https://app.example.com";
    const put = await fetch(upload_url, {
      method: "PUT",
      body: "hello",
      headers: { "content-type": "text/plain", origin },
    });
    expect(put.status).toBe(200);
    expect(put.headers.get("access-control-allow-origin")).toBe("*");
    expect(file_url).toMatch(new RegExp(`^${test.platform.url}/files/`));
    expect(await (await proxied(file_url.replace(test.platform.url, "https://v3.fal.media"))).text()).toBe(
      "hello",
    );
  });

  it("refuses a WebSocket with an explanation", async () => {
    const response = await proxied(`https://ws.fal.run/${STUB}`, { method: "POST", body: "{}" });
    expect(response.status).toBe(426);
    expect(await response.json()).toEqual({
      detail: expect.stringContaining("cannot be reached through the proxy"),
    });
  });

  it("does not forward to itself", async () => {
    for (const host of ["fal.ai", "fal.run", "queue.fal.run", "v3.fal.media"]) {
      const response = await proxied(`https://${host}/api/fal/proxy`);
      expect([400, 404, 405]).toContain(response.status);
    }
  });
});

describe("browsers", () => {
  const origin = "https://app.example.com";

  it.each([
    ["POST", "/queue/tempera/stub"],
    ["PUT", "/queue/tempera/stub/requests/x/cancel"],
    ["POST", "/run/tempera/stub"],
    ["POST", "/tempera/stub"],
    ["POST", "/rest/storage/upload/initiate"],
    ["PUT", "/files/upload/x"],
    ["GET", "/files/ab/x.png"],
    ["POST", "/api/fal/proxy"],
    ["GET", "/nowhere"],
  ])("answers the preflight of %s %s", async (method, path) => {
    const requested =
      "authorization,content-type,x-fal-queue-priority,x-fal-target-url,x-fal-object-lifecycle";
    const { status, headers } = await raw(path, {
      method: "OPTIONS",
      headers: {
        origin,
        "access-control-request-method": method,
        "access-control-request-headers": requested,
      },
    });
    expect(status).toBe(204);
    expect(headers["access-control-allow-origin"]).toBe("*");
    expect(headers["access-control-allow-methods"]?.toString().split(",")).toContain(method);
    expect(headers["access-control-allow-headers"]?.toString().split(",")).toEqual(requested.split(","));
    expect(headers["access-control-max-age"]).toBe("86400");
  });

  it.each([
    ["an answer", "/health/live", "localhost", 200],
    ["a refusal", "/queue/tempera/stub/requests/x/status", "localhost", 401],
    ["an unknown path", "/nowhere", "localhost", 404],
    ["a missing file", "/ab/x.png", "v3.fal.media", 404],
    ["a WebSocket's address", "/ws/tempera/stub", "localhost", 426],
  ])("lets a script read %s and its request id", async (_name, path, host, status) => {
    const answer = await raw(path, { host, headers: { origin } });
    expect(answer.status).toBe(status);
    expect(answer.headers["access-control-allow-origin"]).toBe("*");
    const exposed = answer.headers["access-control-expose-headers"]?.toString().split(",");
    for (const name of [
      "x-fal-request-id",
      "x-fal-error-type",
      "x-fal-request-timeout-type",
      "x-fal-billable-units",
      "etag",
      "retry-after",
    ])
      expect(exposed).toContain(name);
  });

  it("lets any page read a cached file later", async () => {
    expect((await raw("/files/ab/x.png")).headers["access-control-allow-origin"]).toBe("*");
    expect((await raw("/health/live")).headers["access-control-allow-origin"]).toBeUndefined();
  });
});

describe("TLS", () => {
  const peer = (port: number, ca: string): Promise<PeerCertificate & { protocol: string | false | null }> =>
    new Promise((done, fail) => {
      const socket = connect({
        host: "127.0.0.1",
        port,
        servername: "localhost",
        ca: readFileSync(ca),
        ALPNProtocols: ["h2", "http/1.1"],
      });
      socket.once("error", fail).once("secureConnect", () => {
        done({ ...socket.getPeerCertificate(), protocol: socket.alpnProtocol });
        socket.destroy();
      });
    });

  it("has a certificate for all of fal's names, speaks HTTP/2, and stores its authority", async () => {
    for (const host of Object.values(TREES).flatMap(({ hosts }) => [...hosts]))
      expect((await raw("/nowhere", { host, tls: true })).headers["x-fal-request-id"]).toBeTruthy();
    expect((await peer(Number(tlsPort), caFile)).protocol).toBe("h2");
    expect(caFile).toBe(join(test.folder, "tls", "ca.pem"));
  });

  it("is not trusted without its authority", async () => {
    const attempt = new Promise((done, fail) => {
      httpsRequest({ host: "localhost", port: tlsPort, agent: false })
        .once("response", done)
        .once("error", fail)
        .end();
    });
    await expect(attempt).rejects.toMatchObject({ code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" });
  });

  it("accepts requests without a body, whatever their content type", async () => {
    const headers = { ...keyed(), "content-length": "0" };
    for (const [method, path] of [
      ["GET", `/queue/${STUB}/requests/x/status`],
      ["PUT", `/queue/${STUB}/requests/x/cancel`],
    ] as const)
      expect((await raw(path, { method, headers, tls: true })).body).toEqual({ status: "NOT_FOUND" });
  });

  it("uses a renewed certificate for new connections and keeps the open ones", async () => {
    const folder = await mkdtemp(join(tmpdir(), "tempera-test-"));
    const authority = await openLocalAuthority({ folder, names: ["localhost"], clock: systemClock });
    const app = new Hono().get("/", (c) => c.text("here"));
    const server = await listen(app, {
      host: "127.0.0.1",
      port: 0,
      name: "test",
      setting: "X",
      tls: { ...(await authority.certificate()), log: { debug() {} } },
    });
    try {
      const before = await peer(server.port, authority.caFile);
      server.useCertificate(await authority.renew());
      const after = await peer(server.port, authority.caFile);
      expect(after.serialNumber).not.toBe(before.serialNumber);
      const taken = listen(app, {
        host: "127.0.0.1",
        port: server.port,
        name: "gateway, TLS",
        setting: "TEMPERA_TLS_PORT",
      });
      await expect(taken).rejects.toThrow(
        `Port ${server.port} (gateway, TLS) is in use; stop the other program or set TEMPERA_TLS_PORT`,
      );
    } finally {
      await server.stop(0);
      await rm(folder, { recursive: true, force: true });
    }
  });
});

/** What a recipe prints: the URL of the image. */
const IMAGE_LINE = /^https?:\/\/\S+\/files\/\S+\.png\n$/;

describe("the recipes work as they are pasted", () => {
  /** Finds the code block of a page that has `word`, and inserts this platform's addresses and folder. */
  const block = (page: string, language: string, word: string): string => {
    const blocks = [...readFileSync(join(PROJECT, page), "utf8").matchAll(/^```(\w+)\n(.*?)^```/gms)];
    const [, , text = ""] =
      blocks.find(([, named, body]) => named === language && body?.includes(word)) ?? [];
    expect(text).toContain(word);
    return text
      .replaceAll("http://localhost:8080", test.platform.url)
      .replaceAll("localhost:8443", `localhost:${tlsPort}`)
      .replaceAll("$PWD/.tempera", test.folder)
      .replaceAll(".tempera", test.folder)
      .replaceAll("examples/", `${PROJECT}/examples/`);
  };
  /** Runs a script in a shell with the Python environment activated. */
  const shell = (script: string) =>
    run(
      "sh",
      ["-ec", script],
      {
        TEMPERA_KEY: test.platform.key,
        PATH: `${dirname(python)}:${process.env.PATH}`,
        PYTHONDONTWRITEBYTECODE: "1",
      },
      test.folder,
    );

  it.each(["proxyUrl", "createFalClient"])("docs/clients.md, JavaScript with %s", async (word) => {
    const output = await run(
      process.execPath,
      ["--input-type=module", "--eval", block("docs/clients.md", "js", word)],
      {
        TEMPERA_KEY: test.platform.key,
      },
    );
    expect(output).toMatch(IMAGE_LINE);
  });

  it("docs/clients.md, Python", async () => {
    expect(await shell(block("docs/clients.md", "sh", "fal_client"))).toMatch(IMAGE_LINE);
  });

  it("docs/clients.md, an upload from Python without names", async () => {
    const env = { SSL_CERT_FILE: caFile, FAL_KEY: test.platform.key };
    const url = await run(python, ["-c", block("docs/clients.md", "py", "REST_URL")], env);
    expect((await raw(new URL(url.trim()).pathname, { method: "HEAD", tls: true })).status).toBe(200);
  });

  it("docs/clients.md, curl", async () => {
    expect(JSON.parse(await shell(block("docs/clients.md", "sh", "--cacert")))).toMatchObject({
      status: "IN_QUEUE",
    });
  });

  it("docs/clients.md names every host in the lines for /etc/hosts", () => {
    const { queue, run, ws, rest, files } = TREES;
    const names = [queue, run, ws, rest, files].flatMap(({ hosts }) => [...hosts]);
    const page = readFileSync(join(PROJECT, "docs/clients.md"), "utf8");
    const lines = [...page.matchAll(/^ *127\.0\.0\.1 (.*)$/gm)];
    expect(lines.flatMap(([, hosts = ""]) => hosts.split(" "))).toEqual(names);
  });

  it("README.md, Python with examples/python/subscribe.py", async () => {
    expect(await shell(block("README.md", "sh", "subscribe.py"))).toMatch(
      /^saved image\.png \(1024x768, seed \d+\)$/m,
    );
    expect(await sharp(join(test.folder, "image.png")).metadata()).toMatchObject({
      format: "png",
      width: 1024,
      height: 768,
    });
  });

  it("the output of `npm start -- --tls`", async () => {
    const text = readyText(test.platform, { isTerminal: false });
    const exports = text.split("\n").filter((line) => /^ {2}export (FAL|SSL)/.test(line));
    expect(exports).toHaveLength(4);
    const subscribe = `fal_client.subscribe("${STUB}", {"prompt": "hello"})`;
    const call = `python3 -c 'import fal_client; print(${subscribe}["echo"])'`;
    expect(await shell([...exports, call].join("\n"))).toBe("hello\n");
    const [curl] = text.split("\n").filter((line) => line.includes("--cacert"));
    expect(JSON.parse(await shell(curl ?? "false"))).toMatchObject({ status: "IN_QUEUE" });
    expect(text).toContain(`export NODE_EXTRA_CA_CERTS="${caFile}"`);
  });
});

describe("tempera tls", () => {
  const tempera = (args: string[], env: Record<string, string>) =>
    run(process.execPath, [join(PROJECT, "scripts/tempera.mjs"), "tls", ...args], env);

  it("ca makes the authority on first use and prints its path; renew does not change it", async () => {
    const folder = await mkdtemp(join(tmpdir(), "tempera-test-"));
    try {
      const env = { TEMPERA_DATA: folder };
      expect(await tempera(["ca"], env)).toBe(`${join(folder, "tls/ca.pem")}\n`);
      const ca = readFileSync(join(folder, "tls/ca.pem"), "utf8");
      await tempera(["renew"], env);
      const first = readFileSync(join(folder, "tls/server.pem"), "utf8");
      await tempera(["renew"], env);
      expect(readFileSync(join(folder, "tls/server.pem"), "utf8")).not.toBe(first);
      expect(readFileSync(join(folder, "tls/ca.pem"), "utf8")).toBe(ca);
      await expect(tempera(["ca"], { ...env, TEMPERA_TLS_NAMES: "a b" })).rejects.toThrow(
        'tempera: TEMPERA_TLS_NAMES: "a b" is neither a host name nor an address',
      );
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
