import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createPlatformClient } from "../../src/cli/platform-client.ts";
import type { Json, JsonObject } from "../../src/core/json/json.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

let test: TestPlatform;
let ann: string;
let bob: string;
let folder: string;
beforeAll(async () => {
  test = await startTestPlatform();
  folder = await mkdtemp(join(tmpdir(), "tempera-workflows-"));
  [ann, bob] = (await Promise.all(
    ["ann", "bob"].map(
      async (owner) =>
        (
          await admin("POST", "", { alias: owner, owner }, test.platform.key, "/v1/keys")
        ).body.key,
    ),
  )) as [string, string];
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await test[Symbol.asyncDispose]();
});

// biome-ignore lint/suspicious/noExplicitAny: bodies of every shape are looked into
type Answer = { status: number; body: any };
const send = async (method: string, url: string, body: Json | undefined, key: string): Promise<Answer> => {
  const response = await fetch(url, {
    method,
    headers: { authorization: `Key ${key}`, "content-type": "application/json" },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: text === "" ? undefined : JSON.parse(text) };
};
const admin = (method: string, path: string, body?: Json, key = ann, root = "/v1/workflows") =>
  send(method, `${test.platform.adminUrl}${root}${path}`, body, key);
const rest = (method: string, path: string, body?: Json, key = ann) =>
  send(method, `${test.platform.url}/rest/workflows${path}`, body, key);

const stub = (input: JsonObject = { prompt: "$input.prompt" }, over: JsonObject = {}): JsonObject => ({
  type: "run",
  app: "tempera/stub",
  depends: ["input"],
  input,
  ...over,
});
const contents = (nodes: JsonObject, output: Json = { text: "$a.echo" }): JsonObject => ({
  name: "whatever",
  version: "1",
  nodes,
  output,
  schema: {
    input: { prompt: { name: "prompt", label: "Prompt", type: "string", required: true, modelId: "a" } },
    output: {},
  },
  metadata: { description: "repeats the prompt" },
});
const workflow = (name: string, nodes: JsonObject = { a: stub() }, over: JsonObject = {}): JsonObject => ({
  name,
  title: `The ${name}`,
  contents: contents(nodes),
  ...over,
});

describe("saved workflows, on the Platform API", () => {
  it("creates, shows, lists, changes into a new version, removes", async () => {
    const made = await admin("POST", "", workflow("echo-1", undefined, { tags: ["demo"] }));
    expect(made).toMatchObject({
      status: 201,
      body: {
        workflow: {
          name: "echo-1",
          title: "The echo-1",
          user_nickname: "ann",
          is_public: false,
          version: 1,
          description: "repeats the prompt",
          tags: ["demo"],
          endpoint_ids: ["tempera/stub"],
          contents: contents({ a: stub() }),
        },
      },
    });
    expect(Date.parse(made.body.workflow.created_at)).toBeGreaterThan(Date.now() - 60_000);
    expect((await admin("GET", "/ann/echo-1")).body).toEqual(made.body);

    expect(await admin("POST", "", workflow("echo-1"))).toMatchObject({
      status: 400,
      body: { error: { type: "validation_error", message: expect.stringContaining("'echo-1'") } },
    });
    const changed = contents({ a: stub(), b: stub({ payload: "$a.echo" }) }, { text: "$b.echo" });
    expect(await admin("PATCH", "/ann/echo-1", { contents: changed, is_public: true })).toMatchObject({
      status: 200,
      body: { workflow: { version: 2, is_public: true, title: "The echo-1" } },
    });
    expect((await admin("GET", "/ann/echo-1?version=1")).body.workflow.contents).toEqual(
      contents({ a: stub() }),
    );
    expect((await admin("GET", "/ann/echo-1")).body.workflow.contents).toEqual(changed);
    expect((await admin("GET", "/ann/echo-1?version=0")).status).toBe(404);

    await admin("POST", "", workflow("other"));
    const { workflows, total } = (await admin("GET", "?search=ECHO&used_endpoint_ids=tempera/stub")).body;
    expect([total, workflows.map((each: JsonObject) => each.name)]).toEqual([1, ["echo-1"]]);
    expect(workflows[0]).not.toHaveProperty("contents");
    expect((await admin("GET", "?used_endpoint_ids=a/b&used_endpoint_ids=c/d")).body.total).toBe(0);

    expect((await admin("DELETE", "/ann/echo-1")).status).toBe(204);
    expect(await admin("DELETE", "/ann/echo-1")).toMatchObject({
      status: 404,
      body: { error: { type: "not_found" } },
    });
    expect((await admin("GET", "/ann/echo-1")).status).toBe(404);
  });

  it("answers 404 for another owner's unless it is public, and never changes it", async () => {
    await admin("POST", "", workflow("mine"));
    await admin("POST", "", workflow("shared", undefined, { is_public: true }));
    expect((await admin("GET", "/ann/mine", undefined, bob)).status).toBe(404);
    expect((await admin("GET", "/ann/shared", undefined, bob)).status).toBe(200);
    for (const name of ["mine", "shared"]) {
      expect((await admin("PATCH", `/ann/${name}`, { title: "x" }, bob)).status).toBe(404);
      expect((await admin("DELETE", `/ann/${name}`, undefined, bob)).status).toBe(404);
    }
    expect((await admin("GET", "", undefined, bob)).body).toEqual({ workflows: [], total: 0 });
    expect((await send("GET", `${test.platform.adminUrl}/v1/workflows`, undefined, "nobody:x")).status).toBe(
      401,
    );
    // Calling is the same; a body that does not fit shows that the pipeline was found, without running it.
    const call = (endpoint: string, key: string) =>
      send("POST", `${test.platform.url}/queue/${endpoint}`, { prompt: 1 }, key);
    expect((await call("workflows/ann/mine", bob)).status).toBe(404);
    expect((await call("workflows/ann/mine", ann)).status).toBe(422);
    expect((await call("workflows/ann/shared", bob)).status).toBe(422);
    expect((await call("workflows/ann/shared/more", ann)).status).toBe(404);
    expect((await call("workflows/execute/shared", ann)).status).toBe(404);
  });

  it("refuses a record with all its faults", async () => {
    const { status, body } = await admin("POST", "", {
      name: "a b",
      title: "",
      is_public: "yes",
      tags: [""],
      thumbnail_url: "ftp://x",
      description: 1,
    });
    expect(status).toBe(422);
    for (const field of ["name", "title", "is_public", "tags", "thumbnail_url", "description", "contents"]) {
      expect(body.error.message).toContain(`${field}: `);
    }
    expect((await admin("POST", "", [])).status).toBe(422);
    expect((await admin("PATCH", "/ann/other", { name: "renamed" })).body.error.message).toContain(
      "does not change",
    );
    expect(await admin("PATCH", "/ann/nothing", {})).toMatchObject({ status: 404 });
    expect(
      (await admin("POST", "", workflow("nul", { a: stub({ prompt: "\u0000" }) }))).body.error.message,
    ).toContain("NUL");
  });

  it("refuses a definition with all its faults, and saves nothing of it", async () => {
    const nodes = {
      a: stub({ prompt: "$5 off" }, { depends: ["b", "gone"] }),
      b: stub({ payload: "$a.echo" }),
      c: stub({}, { app: "no/model" }),
    };
    const { status, body } = await admin("POST", "", workflow("faulty", nodes));
    expect(status).toBe(422);
    for (const part of [
      "$5 off",
      "there is no node 'gone'",
      "no endpoint 'no/model'",
      "'a' waits for 'b' waits for 'a'",
    ])
      expect(body.error.message).toContain(part);
    expect((await admin("GET", "/ann/faulty")).status).toBe(404);

    const many = Object.fromEntries(Array.from({ length: 2_000 }, (_, i) => [`n${i}`, stub()]));
    expect((await admin("POST", "", workflow("many", many))).body.error.message).toContain("2,000 nodes");
    const long = {
      a: stub(
        { payload: Array.from({ length: 5_000 }, () => `$${"x".repeat(100)}`) },
        { depends: Array(5_000).fill(1) },
      ),
    };
    const { error } = (await admin("POST", "", workflow("long", long))).body;
    expect(error.message).toMatch(/; and 4900 more$/);
    expect(error.message.length).toBeLessThan(50_000);
    const wide = { a: stub({ payload: "x".repeat(1024 * 1024) }) };
    expect((await admin("POST", "", workflow("large", wide))).body.error.message).toContain("bytes of JSON");
  });

  it("refuses workflows that call themselves, directly or through others, or nest too deep", async () => {
    const calling = (endpoint: string) => ({
      a: stub(),
      b: { type: "run", app: endpoint, input: { prompt: "$input.prompt" } },
    });
    expect(
      (await admin("POST", "", workflow("self", calling("workflows/ann/self")))).body.error.message,
    ).toContain("calls itself");
    expect(
      (await admin("POST", "", workflow("adhoc", calling("workflows/execute")))).body.error.message,
    ).toContain("cannot be a node");
    expect(
      (await admin("POST", "", workflow("early", calling("workflows/ann/late")))).body.error.message,
    ).toContain("workflows/ann/late");

    let inner = "tempera/stub";
    for (let depth = 1; depth <= 8; depth++) {
      expect((await admin("POST", "", workflow(`deep${depth}`, calling(inner)))).status).toBe(201);
      inner = `workflows/ann/deep${depth}`;
    }
    expect((await admin("POST", "", workflow("deep9", calling(inner)))).body.error.message).toContain(
      "9 deep",
    );
    expect(
      (await admin("PATCH", "/ann/deep1", { contents: contents(calling("workflows/ann/deep3")) })).body.error
        .message,
    ).toContain("without end");
    // Another owner's private workflow does not exist for the caller.
    expect(
      (await admin("POST", "", workflow("stolen", calling("workflows/ann/deep1")), bob)).body.error.message,
    ).toContain("no endpoint");
    // The output of a workflow is checked in the workflows that call it.
    const used = {
      w: { type: "run", app: "workflows/ann/deep1", input: { prompt: "x" } },
      a: stub({ payload: "$w.video" }),
    };
    expect((await admin("POST", "", workflow("user", used))).body.error.message).toContain(
      "without a field 'video'",
    );
  });
});

describe("saved workflows, on the REST API of fal's SDK", () => {
  it("creates, pages, shows, changes, removes", async () => {
    for (const name of ["r1", "r2", "r3"]) {
      const made = await rest("POST", "/", workflow(name), bob);
      expect(made).toMatchObject({
        status: 201,
        body: {
          name,
          title: `The ${name}`,
          user_id: "bob",
          is_public: false,
          contents: contents({ a: stub() }),
        },
      });
    }
    const page = await rest("GET", "/?page=2&size=2", undefined, bob);
    expect(page).toMatchObject({
      status: 200,
      body: { items: [{ name: "r1", user_id: "bob" }], total: 3, page: 2, size: 2, pages: 2 },
    });
    expect((await rest("GET", "?size=1000", undefined, bob)).status).toBe(422);
    expect((await rest("PATCH", "/bob/r1", { title: "Other" }, bob)).body).toMatchObject({
      title: "Other",
      version: 1,
    });
    expect((await rest("GET", "/bob/r1", undefined, ann)).status).toBe(404);
    expect((await rest("PUT", "/bob/r1", {}, bob)).status).toBe(405);
    expect((await rest("DELETE", "/bob/r1", undefined, bob)).status).toBe(204);
    expect((await rest("GET", "/bob/r1", undefined, bob)).status).toBe(404);
  });

  it("locates every fault", async () => {
    const { status, body } = await rest(
      "POST",
      "",
      workflow("x", { a: stub({ prompt: "$b.c", steps: -1 }, { depends: ["d"] }) }),
    );
    expect(status).toBe(422);
    expect(
      body.detail.map(({ loc, type }: { loc: string[]; type: string }) => [loc.join("."), type]),
    ).toEqual([
      ["body.contents.nodes.a.depends.0", "value_error"],
      ["body.contents.nodes.a.input.prompt", "value_error"],
      ["body.contents.nodes.a.input.steps", "greater_than_equal"],
    ]);
  });
});

describe("runs of saved workflows", () => {
  const call = async (endpoint: string, prompt: string, key = ann) =>
    (await send("POST", `${test.platform.url}/run/${endpoint}`, { prompt }, key)).body;
  /** Makes a workflow that echoes the prompt with a mark. */
  const marked = (mark: string, delay_ms = 0) =>
    contents(
      { a: stub({ payload: { mark, text: "$input.prompt" }, delay_ms }) },
      { mark: "$a.echo.mark", text: "$a.echo.text" },
    );

  it("finish on the version with which they began, whatever happens to the workflow meanwhile", async () => {
    await admin("POST", "", workflow("versioned", {}, { contents: marked("one", 3_000) }));
    const queue = `${test.platform.url}/queue/workflows/ann/versioned`;
    const { request_id } = (await send("POST", queue, { prompt: "early" }, ann)).body;
    await admin("PATCH", "/ann/versioned", { contents: marked("two") });
    // Gateways are notified, and serve the new version from then on.
    let late: JsonObject;
    do late = await call("workflows/ann/versioned", "late");
    while (late.mark === "one");
    expect(late).toEqual({ mark: "two", text: "late" });
    await admin("DELETE", "/ann/versioned");
    expect((await test.record(request_id))?.version).toBe("1");
    expect((await send("GET", `${queue}/requests/${request_id}`, undefined, ann)).body).toEqual({
      mark: "one",
      text: "early",
    });
  });

  it("are described like models: to everybody when public, else to their owner", async () => {
    const document = async (name: string, headers?: Record<string, string>) => {
      const response = await fetch(
        `${test.platform.url}/api/openapi/queue/openapi.json?endpoint_id=workflows/ann/${name}`,
        headers && { headers },
      );
      return response.status === 200 ? JSON.stringify(await response.json()) : response.status;
    };
    await admin("POST", "", workflow("described", { a: stub() }, { is_public: true }));
    await admin("POST", "", workflow("hidden"));
    expect(await document("described")).toContain(`"title":"Prompt"`);
    expect(await document("hidden")).toBe(404);
    expect(await document("hidden", { authorization: `Key ${bob}` })).toBe(404);
    expect(await document("hidden", { authorization: `Key ${ann}` })).toContain('"/workflows/ann/hidden"');
  });

  it("run a workflow as a node of another, with what each caller may see", async () => {
    await admin("POST", "", workflow("inner", {}, { contents: marked("inner"), is_public: true }));
    const nodes = {
      w: { type: "run", app: "workflows/ann/inner", input: { prompt: "$input.prompt" } },
      a: stub({ payload: "$w.text" }),
    };
    expect(
      (
        await admin(
          "POST",
          "",
          workflow(
            "outer",
            {},
            { contents: contents(nodes, { text: "$a.echo", mark: "$w.mark" }), is_public: true },
          ),
        )
      ).status,
    ).toBe(201);
    expect(await call("workflows/ann/outer", "x")).toEqual({ text: "x", mark: "inner" });
    expect(await call("workflows/ann/outer", "y", bob)).toEqual({ text: "y", mark: "inner" });
    await admin("PATCH", "/ann/inner", { is_public: false });
    let hidden: JsonObject;
    do hidden = await call("workflows/ann/outer", "z", bob);
    while (hidden.detail === undefined);
    expect(hidden.detail).toContain("workflows/ann/inner");
    expect(await call("workflows/ann/outer", "z")).toEqual({ text: "z", mark: "inner" });
  });
});

describe("workflows/execute", () => {
  it("refuses what cannot run, before anything is queued", async () => {
    const execute = (body: Json) => send("POST", `${test.platform.url}/queue/workflows/execute`, body, ann);
    const shown = { type: "display", depends: ["a"], fields: { text: "$a.echo" } };
    const faults = async (body: Json) => {
      const answer = await execute(body);
      expect(answer.status).toBe(422);
      return answer.body.detail
        .map(({ loc, msg }: { loc: string[]; msg: string }) => `${loc.join(".")}: ${msg}`)
        .join("\n");
    };
    expect(await faults({ input: {} })).toContain("body.workflow: Field required");
    expect(await faults({ input: {}, workflow: { a: stub(), shown } })).toContain(
      "'$input.prompt' leads nowhere",
    );
    expect(await faults({ input: { prompt: [1] }, workflow: { a: stub(), shown } })).toContain(
      "'$input.prompt' is a list, but this field takes a string",
    );
    expect(
      await faults({ input: { prompt: "x" }, workflow: { a: stub({}, { depends: ["a"] }), shown } }),
    ).toContain("'a' waits for 'a'");
    expect(await faults({ input: { prompt: "\ud800" }, workflow: { a: stub(), shown } })).toContain(
      "Unicode",
    );
    expect((await send("POST", `${test.platform.url}/queue/workflows/execute`, {}, "nobody:x")).status).toBe(
      401,
    );
  });

  it("leaves to the run what schemas leave open: an unfit value fails its node with 422", async () => {
    const workflow = {
      a: stub({ payload: { list: ["$input.prompt"] } }),
      b: stub({ prompt: "$a.echo.list", steps: 1 }),
      shown: { type: "display", depends: ["b"], fields: { text: "$b.echo" } },
    };
    const answer = await send(
      "POST",
      `${test.platform.url}/run/workflows/execute`,
      { input: { prompt: "x" }, workflow },
      ann,
    );
    expect(answer).toMatchObject({
      status: 422,
      body: {
        detail: [
          {
            loc: ["body", "prompt"],
            msg: "Node b (tempera/stub): Input should be a valid string",
            type: "string_type",
            ctx: { node: "b", endpoint: "tempera/stub" },
          },
        ],
      },
    });
  });

  it("runs many nodes with one large value, and refuses more of it than Temporal can hold", async () => {
    const run = (workflow: JsonObject, text: string) =>
      send("POST", `${test.platform.url}/run/workflows/execute`, { input: { text }, workflow }, ann);
    const wide: JsonObject = { d: { type: "display", fields: { seed: "$n0.seed" } } };
    for (let at = 0; at < 24; at++) wide[`n${at}`] = stub({ payload: "$input.text", seed: at });
    // Together they are larger than one message to Temporal may be.
    expect(await run(wide, "x".repeat(240_000))).toEqual({ status: 200, body: { seed: 0 } });
    const again = {
      a: stub({ payload: Array.from({ length: 15_000 }, () => "$input.text") }),
      d: { type: "display", fields: { x: "$a.echo" } },
    };
    const refused = await run(again, "x".repeat(100_000));
    expect(refused).toMatchObject({
      status: 400,
      body: { detail: expect.stringContaining("the input of the node a is larger") },
    });
  });
});

describe("a image of more than a MiB in the input of a pipeline", () => {
  const bytes = randomBytes(900_000);
  const image = `data:image/png;base64,${bytes.toString("base64")}`;
  const described = { sha256: createHash("sha256").update(bytes).digest("hex"), bytes: bytes.length };
  const queue = (path: string) => `${test.platform.url}/queue/workflows/execute${path}`;
  const result = async (id: string): Promise<JsonObject> => {
    for await (const { status } of createPlatformClient({ ...test.platform, key: ann }).follow(
      "workflows/execute",
      id,
    ))
      if (status === "COMPLETED") break;
    return (await send("GET", queue(`/requests/${id}`), undefined, ann)).body;
  };
  const two = {
    a: stub({ payload: { deep: ["$input.image"] } }),
    b: stub({ file_url: "$a.echo.deep.0" }, { depends: ["a"] }),
    shown: { type: "display", depends: ["b"], fields: { file: "$b.input_file", same: "$a.echo.deep.0" } },
  };

  it("reaches the nodes and the output whole, also by way of a node's output", async () => {
    const body = { input: { image }, workflow: two };
    const answer = await send("POST", `${test.platform.url}/run/workflows/execute`, body, ann);
    expect(answer).toMatchObject({ status: 200, body: { file: described } });
    expect(answer.body.same === image).toBe(true);
  });

  it("reaches a saved pipeline and the pipelines that it calls", async () => {
    const nested = (app: string, input: JsonObject) =>
      contents({ a: stub(input, { app }) }, { out: "$a.echo" });
    const schema = (of: JsonObject) => ({
      ...of,
      schema: { input: { image: { name: "image", type: "string", required: true } }, output: {} },
    });
    const inner = schema(nested("tempera/stub", { payload: "$input.image" }));
    expect((await admin("POST", "", workflow("big-in", undefined, { contents: inner }))).status).toBe(201);
    const outer = schema({
      ...nested("workflows/ann/big-in", { image: "$input.image" }),
      output: { out: "$a.out" },
    });
    expect((await admin("POST", "", workflow("big-out", undefined, { contents: outer }))).status).toBe(201);
    const url = `${test.platform.url}/run/workflows/ann/big-out`;
    const answer = await send("POST", url, { image }, ann);
    expect(answer.status).toBe(200);
    expect(answer.body.out === image).toBe(true);
  });

  it("may be a node's field in a rerun, and the run after it", async () => {
    const small = { input: { image: "data:,x" }, workflow: two };
    const first = (await send("POST", queue(""), small, ann)).body.request_id;
    await result(first);
    const rerun = (id: string, nodes: JsonObject) =>
      send("POST", queue(`/requests/${id}/rerun`), { overrides: { nodes } }, ann);
    const second = (await rerun(first, { b: { file_url: image } })).body.request_id;
    expect(await result(second)).toMatchObject({ file: described, same: "data:,x" });
    const third = (await rerun(second, { b: { seed: 4 } })).body.request_id;
    expect(await result(third)).toMatchObject({ file: described, same: "data:,x" });
  });
});

describe("tempera pipelines", () => {
  const PROJECT = resolve(import.meta.dirname, "../..");
  const tempera = (args: string[]): Promise<{ code: number; out: string; err: string }> =>
    new Promise((done) => {
      const { platform } = test;
      const env = {
        ...process.env,
        TEMPERA_URL: platform.url,
        TEMPERA_ADMIN_URL: platform.adminUrl,
        TEMPERA_KEY: bob,
        TEMPERA_DATA: folder,
      };
      execFile(
        process.execPath,
        [join(PROJECT, "scripts/tempera.mjs"), "pipelines", ...args],
        { cwd: PROJECT, env },
        (error, out, err) => done({ code: error ? Number(error.code ?? 1) : 0, out, err }),
      );
    });

  it("creates from a definition, lists, updates, shows, deletes", async () => {
    const file = join(folder, "video.json");
    await writeFile(file, JSON.stringify(contents({ a: stub() })));
    expect(await tempera(["create", file, "--name", "by-hand", "--public"])).toEqual({
      code: 0,
      out: "workflows/bob/by-hand\n",
      err: "Version 1.\n",
    });
    await writeFile(file, JSON.stringify(contents({ a: stub(), b: stub() })));
    expect((await tempera(["update", "by-hand", file, "--private", "--title", "By hand"])).err).toBe(
      "Version 2.\n",
    );
    expect((await tempera(["list"])).out).toMatch(
      /ENDPOINT.*\n.*workflows\/bob\/by-hand\s+2\s+\S+\s+By hand/,
    );
    expect(JSON.parse((await tempera(["show", "by-hand"])).out)).toMatchObject({
      version: 2,
      is_public: false,
    });
    expect(JSON.parse((await tempera(["show", "bob/by-hand", "--at", "1"])).out)).toMatchObject({
      version: 1,
    });
    await writeFile(file, JSON.stringify(contents({ a: stub({ prompt: "$nobody.x" }) })));
    expect(await tempera(["create", file])).toMatchObject({
      code: 1,
      err: expect.stringContaining("there is no node 'nobody'"),
    });
    expect((await tempera(["delete", "by-hand"])).code).toBe(0);
    expect(await tempera(["show", "by-hand"])).toMatchObject({
      code: 1,
      err: expect.stringContaining("no workflow 'by-hand'"),
    });
    // Eight programs, each of which loads the whole command line.
  });
});
