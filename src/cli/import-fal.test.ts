import { existsSync, readdirSync, readFileSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { parseJson, writeJson } from "../core/json/exact-json.ts";
import type { JsonObject } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";
import { COMPONENTS, falDocument } from "../registry/fal-import/fal-document.fixture.ts";
import { type ImportOptions, type ImportTarget, importFal } from "./import-fal.ts";

const MANIFEST_SCHEMA = resolve(import.meta.dirname, "../../schemas/manifest.json");
const PAINTER = "acme/painter";
const ENGINES = { diffusers: ["text-to-image", "wan_video"], stub: ["stub"], mine: undefined };
const ON_STUB = { engine: "stub", runner: "stub" };

let root: string;
let folders: ImportTarget;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "tempera-import-"));
  folders = { models: join(root, "models"), schemas: join(root, "schemas"), engines: ENGINES };
  await mkdir(folders.models);
  await mkdir(folders.schemas);
  await copyFile(MANIFEST_SCHEMA, join(folders.schemas, "manifest.json"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const run = (name: string, options: ImportOptions = {}) => importFal(name, options, folders);
/** Everything in the folders, by its path. */
const written = (): string[] =>
  [folders.models, folders.schemas]
    .flatMap((folder) => readdirSync(folder, { recursive: true, encoding: "utf8" }))
    .filter((path) => path !== "manifest.json")
    .sort();
const manifestOf = (path: string) => parse(readFileSync(join(folders.models, path, "model.yaml"), "utf8"));

async function documentFile(content: string): Promise<string> {
  const file = join(root, "openapi.json");
  await writeFile(file, content);
  return file;
}

describe("an endpoint whose schemas ship", () => {
  it("needs no document", async () => {
    const { out } = await run("fal-ai/wan/v2.2-5b/text-to-video");
    const path = "fal-ai/wan/v2.2-5b/text-to-video/1.0.0";
    expect(manifestOf(path)).toMatchObject({
      endpoint: "fal-ai/wan/v2.2-5b/text-to-video",
      runner: "wan_video",
      engine: "diffusers",
      parameters: { resolutions: { "580p": [1024, 576], "720p": [1280, 704] } },
    });
    const input = parseJson<{ properties: JsonObject }>(
      readFileSync(join(folders.schemas, "models", path, "input.json"), "utf8"),
    );
    expect(input.properties).toMatchObject({
      num_inference_steps: { default: 40 },
      resolution: { enum: ["580p", "720p"], default: "720p" },
    });
    expect(out.slice(0, 3)).toEqual([
      `wrote  ${join(folders.models, path, "model.yaml")}`,
      `wrote  ${join(folders.schemas, "models", path, "input.json")}`,
      `wrote  ${join(folders.schemas, "models", path, "output.json")}`,
    ]);
    expect(out[3]).toMatch(/^no effect by itself, noted in each request's log {2}enable_prompt_expansion, /);
  });

  it("is restricted to what its runner does", async () => {
    const { out } = await run("fal-ai/qwen-image@2.1.0", { memoryMib: "81000" });
    const manifest = manifestOf("fal-ai/qwen-image/2.1.0") as { restrictions: unknown[] };
    expect(manifest).toMatchObject({ version: "2.1.0", memoryMiB: 81_000 });
    expect(manifest.restrictions).toEqual([expect.objectContaining({ field: "image_size" })]);
    expect(out).toContain("restricted  image_size");
  });
});

it("takes a document's file, and gives what it knows nothing of to the operator", async () => {
  const document = await documentFile(writeJson(falDocument(PAINTER)));
  const { hints } = await run(PAINTER, { document, ...ON_STUB });
  expect(manifestOf("acme/painter/1.0.0")).toMatchObject({ category: "text-to-image", engine: "stub" });
  expect(hints[0]).toMatch(/^Nothing is restricted: add to .*model\.yaml each field that the engine stub/);
});

it("restricts a document's fields to what the named runner does", async () => {
  const document = await documentFile(writeJson(falDocument(PAINTER)));
  await run(PAINTER, { document, engine: "diffusers", runner: "text-to-image" });
  const { restrictions } = manifestOf("acme/painter/1.0.0");
  expect(restrictions[1]).toMatchObject({ field: "output_format", accepts: { enum: ["png"] } });
});

describe("a fault", () => {
  const cases: [string, string, ImportOptions, RegExp][] = [
    ["an endpoint out of the folder", "../../etc/passwd", {}, /^"\.\.\/\.\.\/etc\/passwd" is no endpoint id/],
    ["an absolute path", "/etc", {}, /^"\/etc" is no endpoint id/],
    [
      "a name of the gateway's",
      "queue/painter",
      {},
      /is no endpoint id; name one such as fal-ai\/qwen-image\.$/,
    ],
    ["a folder that is a package", "acme/1.0.0", {}, /is no endpoint id/],
    ["control characters", "acme/\u001b[2J", {}, /^"acme\/\\u001b\[2J" is no endpoint id/],
    ["no version", "acme/painter@latest", {}, /names no version; write acme\/painter@2\.0\.0\.$/],
    ["a version out of the folder", "acme/painter@../../1.0.0", {}, /names no version/],
    ["memory that is no number", PAINTER, { memoryMib: "many" }, /^--memory-mib "many" is no number/],
    ["half a runner", PAINTER, { engine: "stub" }, /^Name both --engine and --runner/],
    [
      "an unknown endpoint without a runner",
      PAINTER,
      {},
      /its runner is not known; name what does with --engine/,
    ],
    [
      "an endpoint that nothing serves",
      "fal-ai/qwen-image-layered",
      {},
      /^Nothing here serves fal-ai\/qwen-image-layered: it needs diffusers' QwenImageLayeredPipeline/,
    ],
    [
      "a runner that cannot take the input",
      "fal-ai/wan/v2.2-a14b/video-to-video",
      { engine: "diffusers", runner: "wan_video" },
      /cannot be served: the runner wan_video of the engine diffusers does not read video_url, which/,
    ],
    [
      "an engine that does not exist",
      "fal-ai/qwen-image",
      { engine: "difusers", runner: "text-to-image" },
      /would be faulty: model\.yaml: \/engine "difusers" is no engine; did you mean "diffusers"\?/,
    ],
    ["no such file", PAINTER, { document: "/nowhere.json", ...ON_STUB }, /cannot be read \(ENOENT\)/],
    ["a folder as the document", PAINTER, { document: tmpdir(), ...ON_STUB }, /cannot be read \(EISDIR\)/],
    ["two documents", PAINTER, { document: "a", openapiUrl: "http://b", ...ON_STUB }, /not both\.$/],
    ["an address of a file", PAINTER, { openapiUrl: "file:///etc/passwd", ...ON_STUB }, /is no address/],
    ["no address", PAINTER, { openapiUrl: "fal.ai", ...ON_STUB }, /"fal\.ai" is no address; write one/],
  ];
  it.each(cases)("of %s leaves nothing behind", async (_, name, options, message) => {
    await expectRefused(run(name, options), message);
  });

  it.each<[string, string, RegExp]>([
    ["no JSON", "{", /openapi\.json: is not JSON; /],
    [
      "another endpoint's",
      writeJson(falDocument("acme/other")),
      /: has no POST \/acme\/painter: it is of acme\/other/,
    ],
    ["a huge one", " ".repeat(LIMITS.schemaBytesMax + 1), /openapi\.json is larger than 4 MiB; /],
    [
      "one that is too heavy to serve",
      writeJson(falDocument(PAINTER, { ...COMPONENTS, PainterInput: heavy() })),
      /^acme\/painter would be faulty: schemas\/input\.json: /,
    ],
  ])("of a document, %s, leaves nothing behind", async (_, content, message) => {
    await expectRefused(run(PAINTER, { document: await documentFile(content), ...ON_STUB }), message);
  });

  it("of an existing version leaves it as it is", async () => {
    await run("fal-ai/qwen-image");
    const before = manifestOf("fal-ai/qwen-image/1.0.0");
    await expect(run("fal-ai/qwen-image", { memoryMib: "1" })).rejects.toThrow(
      /exists, and a version never changes; import another version: fal-ai\/qwen-image@2\.0\.0\.$/,
    );
    expect(manifestOf("fal-ai/qwen-image/1.0.0")).toEqual(before);
  });

  it("of the models folder takes the schemas back", async () => {
    await writeFile(join(folders.models, "fal-ai"), "a file in the way");
    await expect(run("fal-ai/qwen-image")).rejects.toThrow(/qwen-image\/1\.0\.0 cannot be written: /);
    expect(written()).toEqual(["fal-ai"]);
    expect(existsSync(join(folders.schemas, "models"))).toBe(false);
  });

  async function expectRefused(imported: Promise<unknown>, message: RegExp): Promise<void> {
    const error = await imported.then(
      () => new Error("It was imported."),
      (reason: Error) => reason,
    );
    expect(error.message).toMatch(message);
    expect(error.message).not.toMatch(/\n/);
    expect(written()).toEqual([]);
  }
});

describe("a document that is fetched", () => {
  let server: Server;
  afterEach(() => new Promise((done) => server.close(done)));

  async function serve(answer: RequestListener): Promise<string> {
    server = createServer(answer).listen(0, "127.0.0.1");
    await new Promise((done) => server.once("listening", done));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/openapi.json`;
  }

  it("is requested by the endpoint's name", async () => {
    let requested: string | undefined;
    const openapiUrl = await serve((request, response) => {
      requested = request.url;
      response.end(writeJson(falDocument(PAINTER)));
    });
    await run(PAINTER, { openapiUrl, ...ON_STUB });
    expect(requested).toBe("/openapi.json?endpoint_id=acme%2Fpainter");
    expect(manifestOf("acme/painter/1.0.0")).toMatchObject({ endpoint: PAINTER });
  });

  it.each<[string, RequestListener, RegExp]>([
    [
      "404",
      (_, response) => response.writeHead(404).end(),
      /has no document \(HTTP 404\); check the endpoint/,
    ],
    ["a page", (_, response) => response.end("<html>"), /: is not JSON; /],
    [
      "endless bytes",
      (_, response) => {
        const more = (): void => void (response.writable && response.write(" ".repeat(65_536), more));
        more();
      },
      /is larger than 4 MiB; /,
    ],
    [
      "half an answer",
      (_, response) => {
        response.writeHead(200, { "content-length": "1000" });
        response.write("{", () => response.destroy());
      },
      /cannot be fetched \(.+\); name the document's file instead\.$/,
    ],
    ["nothing", (request) => request.socket.destroy(), /cannot be fetched \(/],
  ])("of which the answer is %s leaves nothing behind", async (_, answer, message) => {
    const openapiUrl = await serve(answer);
    await expect(run(PAINTER, { openapiUrl, ...ON_STUB })).rejects.toThrow(message);
    expect(written()).toEqual([]);
  });
});

/** An input whose check would hold a gateway for long. */
function heavy(): JsonObject {
  const fields = Array.from({ length: 700 }, (_, i) => [`field_${i}`, { type: "string", maxLength: 9 }]);
  return { type: "object", properties: Object.fromEntries(fields) };
}
