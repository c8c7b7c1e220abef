import { createHash } from "node:crypto";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import type { JsonObject } from "../core/json/json.ts";
import { loadRegistry, RegistryFaults } from "./registry.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "tempera-registry-"));
  write("schemas/manifest.json", "");
  copyFileSync(new URL("../../schemas/manifest.json", import.meta.url), join(root, "schemas/manifest.json"));
  mkdirSync(join(root, "models"));
});
afterEach(() => rmSync(root, { recursive: true }));

function write(path: string, content: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const SCHEMA = { type: "object", properties: { prompt: { type: "string" } } };

/** Writes a valid package with some of its parts replaced. */
function addPackage(
  path: string,
  {
    manifest = {},
    text,
    input = JSON.stringify(SCHEMA),
    output = JSON.stringify(SCHEMA),
    files = { "weights.bin": "w" },
  }: {
    manifest?: JsonObject;
    text?: string;
    input?: string | null;
    output?: string | null;
    files?: Record<string, string>;
  } = {},
): void {
  const segments = path.split("/");
  const valid = {
    endpoint: segments.slice(0, -1).join("/"),
    version: segments.at(-1) ?? "",
    title: "A model",
    description: "For tests.",
    category: "text-to-image",
    runner: "stub",
    engine: "stub",
    memoryMiB: 10,
    files: Object.fromEntries(Object.entries(files).map(([name, content]) => [name, sha256(content)])),
  };
  write(`models/${path}/model.yaml`, text ?? stringify({ ...valid, ...manifest }));
  for (const [name, content] of Object.entries(files)) write(`models/${path}/${name}`, content);
  if (input !== null) write(`schemas/models/${path}/input.json`, input);
  if (output !== null) write(`schemas/models/${path}/output.json`, output);
}

const manyFields = (count: number): JsonObject =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`f${at}`, { type: "string" }]));

const TREE = { $ref: "#/$defs/Tree" };
/** A schema that contains itself in both branches of a union. */
const branchingTree = {
  type: "object",
  properties: { tree: TREE },
  $defs: { Tree: { anyOf: [{ properties: { a: TREE } }, { properties: { a: TREE, b: {} } }] } },
};

const load = () => loadRegistry({ modelsFolder: join(root, "models"), schemasFolder: join(root, "schemas") });

/** Every fault, each as `<folder>: <fault>`. */
async function faults(): Promise<string[]> {
  const error = await load().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RegistryFaults);
  return (error as Error).message
    .split("\n")
    .slice(1)
    .map((line) => line.trim());
}

describe("a registry of valid packages", () => {
  it("routes each endpoint to its newest version, and still finds the older ones", async () => {
    for (const version of ["1.9.0", "1.10.0", "1.2.30"]) addPackage(`fal-ai/wan/fast/${version}`);
    const registry = await load();
    expect(registry.route("fal-ai/wan/fast")?.model?.version).toBe("1.10.0");
    expect(registry.find("fal-ai/wan/fast", "1.2.30")?.version).toBe("1.2.30");
    expect(registry.list().map(({ version }) => version)).toEqual(["1.10.0", "1.9.0", "1.2.30"]);
    expect(registry.hasApp("fal-ai/wan")).toBe(true);
    for (const none of ["fal-ai/wan", "fal-ai", "fal-ai/wan/fast/1.9.0", "__proto__", ""])
      expect(registry.route(none)).toBeUndefined();
    expect(registry.hasApp("fal-ai")).toBe(false);
  });

  it("completes a manifest with its defaults", async () => {
    addPackage("a/b/1.0.0", { manifest: { retry: { attemptsMax: 2 } } });
    expect((await load()).find("a/b", "1.0.0")).toMatchObject({
      folder: join(root, "models/a/b/1.0.0"),
      slots: 1,
      pinned: false,
      parameters: {},
      restrictions: [],
      retry: { attemptsMax: 2, initialMs: 500, backoff: 2, maximumMs: 20_000 },
      timeouts: { heartbeatMs: 10_000, runMs: 3_600_000, loadMs: 120_000, silenceMs: 600_000 },
      checkpoint: { everySteps: 0, everySeconds: 10 },
      digest: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
  });

  it("computes a digest of the manifest, both schemas and the weights, and not of the path", async () => {
    const digest = async (change: Parameters<typeof addPackage>[1]): Promise<string | undefined> => {
      addPackage("a/b/1.0.0", change);
      return (await load()).find("a/b", "1.0.0")?.digest;
    };
    const digests = [
      await digest({}),
      await digest({ manifest: { title: "Another" } }),
      await digest({ input: JSON.stringify({ ...SCHEMA, title: "x" }) }),
      await digest({ output: JSON.stringify({ ...SCHEMA, title: "x" }) }),
      await digest({ files: { "weights.bin": "other" } }),
    ];
    expect(new Set(digests).size).toBe(5);
    expect(await digest({})).toBe(digests[0]);
  });

  it("may be empty", async () => expect((await load()).list()).toEqual([]));

  it("ignores hidden folders, stray files and dangling links", async () => {
    write("models/.cache/x/model.yaml", "nonsense");
    write("models/README.md", "words");
    symlinkSync(join(root, "nowhere"), join(root, "models/broken"));
    addPackage("a/b/1.0.0");
    expect((await load()).list()).toHaveLength(1);
  });

  it("reads `says`, the former name of a restriction's message, with a warning", async () => {
    const restriction = '{"field": "prompt", "accepts": {"maxLength": 1}, "says": "Short prompts only."}';
    addPackage("a/b/1.0.0", { manifest: { restrictions: [JSON.parse(restriction)] } });
    const warnings: string[] = [];
    const registry = await loadRegistry({
      modelsFolder: join(root, "models"),
      schemasFolder: join(root, "schemas"),
      log: { warn: (fields, message) => void warnings.push(`${JSON.stringify(fields)} ${message}`) },
    });
    expect(registry.route("a/b")?.checkInput({ prompt: "long" })).toMatchObject({
      faults: [{ loc: ["body", "prompt"], msg: "Short prompts only." }],
    });
    expect(warnings).toEqual([
      '{"endpoint":"a/b","version":"1.0.0"} model.yaml has restrictions with "says"; rename it to "message"',
    ]);
  });

  it("keeps large integers of schemas, restrictions and parameters", async () => {
    const maximum = 2n ** 64n - 1n;
    addPackage("a/b/1.0.0", {
      manifest: {
        parameters: { key: maximum, small: 3 },
        restrictions: [
          { field: "tag", accepts: { not: { const: 2n ** 53n + 1n } }, message: "Not this one." },
        ],
      },
      input:
        '{"type":"object","properties":{"seed":{"type":"integer","maximum":18446744073709551615},' +
        '"tag":{"type":"integer","default":9007199254740995}}}',
    });
    const route = (await load()).route("a/b");
    expect(route?.model?.parameters).toEqual({ key: maximum, small: 3 });
    const tag = 2n ** 53n + 3n;
    expect(route?.checkInput({ seed: maximum })).toMatchObject({ input: { seed: maximum, tag } });
    expect(route?.checkInput({ seed: maximum + 1n })).toMatchObject({
      faults: [{ loc: ["body", "seed"], type: "less_than_equal", ctx: { le: maximum } }],
    });
    expect(route?.checkInput({ seed: 1, tag: 2n ** 53n + 1n })).toMatchObject({
      faults: [{ msg: "Not this one." }],
    });
  });

  it("names a missing folder", async () =>
    await expect(
      loadRegistry({ modelsFolder: join(root, "none"), schemasFolder: join(root, "schemas") }),
    ).rejects.toThrow(/no models folder .*none; .*TEMPERA_MODELS/));
});

describe("a faulty package is refused for", () => {
  it.each<[string, Parameters<typeof addPackage>[1], RegExp]>([
    ["no YAML", { text: "endpoint: [" }, /^a\/b\/1\.0\.0: model\.yaml: /],
    ["an empty manifest", { text: "" }, /model\.yaml: \/ must be object/],
    ["a list as manifest", { text: "- a" }, /model\.yaml: \/ must be object/],
    ["a field too many", { manifest: { sloots: 2 } }, /model\.yaml: .*additional properties \(sloots\)/],
    ["a wrong type", { manifest: { slots: "many" } }, /model\.yaml: \/slots must be integer/],
    ["no attempts at all", { manifest: { retry: { attemptsMax: 0 } } }, /\/retry\/attemptsMax must be >= 1/],
    ["an invalid version", { manifest: { version: "latest" } }, /\/version must match pattern/],
    [
      "an invalid digest",
      { manifest: { files: { "weights.bin": "abc" } } },
      /\/files\/weights\.bin must match pattern/,
    ],
    [
      "another endpoint than its folder",
      { manifest: { endpoint: "c/d" } },
      /is for c\/d\/1\.0\.0 but lies in a\/b\/1\.0\.0/,
    ],
    [
      "another version than its folder",
      { manifest: { version: "2.0.0" } },
      /is for a\/b\/2\.0\.0 but lies in a\/b\/1\.0\.0/,
    ],
    ["a missing input schema", { input: null }, /schemas\/models\/a\/b\/1\.0\.0\/input\.json: missing/],
    ["a missing output schema", { output: null }, /schemas\/models\/a\/b\/1\.0\.0\/output\.json: missing/],
    ["a schema that is no JSON", { input: "{" }, /input\.json: .*JSON/],
    ["a schema that is no object", { input: "[]" }, /input\.json: is not a JSON Schema object/],
    ["a schema of something else", { output: '{"type":"array"}' }, /output\.json: must describe an object/],
    [
      "a schema with an unknown type",
      { input: '{"type":"object","properties":{"a":{"type":"banana"}}}' },
      /input\.json: schema is invalid/,
    ],
    [
      "a schema that points nowhere",
      { input: '{"type":"object","properties":{"a":{"$ref":"#/$defs/None"}}}' },
      /input\.json: can't resolve reference/,
    ],
    [
      "a schema that is nested too deep",
      { input: `{"type":"object","properties":{"a":${'{"items":'.repeat(100_000)}` },
      /input\.json: is nested deeper than 64 levels/,
    ],
    [
      "a schema with too many names",
      { input: `{"type":"object","properties":{},"required":["a"${',"b"'.repeat(5_000)}]}` },
      /input\.json: has more than 5000 values/,
    ],
    [
      "an input schema that would hold the event loop of gateways while it is compiled",
      { input: JSON.stringify({ type: "object", properties: manyFields(1_333) }) },
      /input\.json: takes too long to compile: .* weighs more than 1000; give it fewer fields/,
    ],
    [
      "restrictions that would, with the schema",
      {
        manifest: {
          restrictions: ["a", "b", "c"].map((field) => ({
            field,
            accepts: { properties: manyFields(200) },
            message: "x",
          })),
        },
        input: JSON.stringify({ type: "object", properties: { a: {}, b: {}, c: {} } }),
      },
      /input\.json: takes too long to compile: with the restrictions it weighs more than 1000/,
    ],
    [
      "an input schema whose check doubles with each level of a value",
      { input: JSON.stringify(branchingTree) },
      /input\.json: takes too long to check: \$defs\/Tree contains itself in several ways/,
    ],
    [
      "a manifest that is nested too deep",
      { text: "- ".repeat(100_000) },
      /model\.yaml: is nested deeper than 64 levels \(line 1\)/,
    ],
    [
      "a schema with a pattern that looks ahead",
      { input: '{"type":"object","properties":{"a":{"pattern":"^(?=a)"}}}' },
      /input\.json: the regular expression "\^\(\?=a\)" cannot be used: .*look-arounds/,
    ],
    [
      "a schema with a broken pattern",
      { input: '{"type":"object","properties":{"a":{"pattern":"("}}}' },
      /input\.json: .*regular expression/i,
    ],
    [
      "an input schema without fields of its own",
      { input: '{"type":"object","allOf":[]}' },
      /input\.json: must list its fields in "properties"/,
    ],
    [
      "a restriction of an unknown field",
      { manifest: { restrictions: [{ field: "lora", accepts: {}, message: "x" }] } },
      /\/restrictions names "lora"/,
    ],
    [
      "a restriction with an invalid schema",
      { manifest: { restrictions: [{ field: "prompt", accepts: { type: "banana" }, message: "x" }] } },
      /\/restrictions\/prompt\/accepts: /,
    ],
    [
      "a file outside the package",
      { manifest: { files: { "../../../../secret": "0".repeat(64) } } },
      /\.\.\/secret: lies outside the package/,
    ],
    [
      "an absolute path",
      { manifest: { files: { "/etc/hostname": "0".repeat(64) } } },
      /\/etc\/hostname: (missing|lies outside)/,
    ],
    [
      "a wrong digest",
      { manifest: { files: { "weights.bin": "0".repeat(64) } } },
      /weights\.bin: digest is 50e721e49c01…, model\.yaml has 000000000000…/,
    ],
    [
      "a folder as a file",
      { manifest: { files: { sub: "0".repeat(64) } }, files: { "sub/x": "" } },
      /sub: missing/,
    ],
  ])("%s", async (_name, change, fault) => {
    addPackage("a/b/1.0.0", change);
    expect((await faults()).join("\n")).toMatch(fault);
  });

  it("a missing weight file", async () => {
    addPackage("a/b/1.0.0");
    unlinkSync(join(root, "models/a/b/1.0.0/weights.bin"));
    expect(await faults()).toEqual(["a/b/1.0.0: weights.bin: missing"]);
  });

  it("a version folder without a manifest", async () => {
    write("models/a/b/1.0.0/weights.bin", "w");
    expect((await faults()).join()).toMatch(/^a\/b\/1\.0\.0: model\.yaml: .*ENOENT/);
  });

  it.each(["run/x", "queue/x", "v1/x"])("an owner that a tree of routes uses: %s", async (endpoint) => {
    addPackage(`${endpoint}/1.0.0`);
    expect((await faults()).join()).toMatch(/is not an endpoint id/);
  });

  it("an endpoint that no path could ever reach", async () => {
    addPackage("a/b/requests/1.0.0");
    expect((await faults()).join()).toMatch(/is not an endpoint id/);
  });

  it("all faults of all packages together, without the valid ones", async () => {
    addPackage("a/valid/1.0.0");
    addPackage("a/bad/1.0.0", { manifest: { slots: 0, memoryMiB: "x" } });
    addPackage("b/bad/1.0.0", { input: null, output: "{", manifest: { endpoint: "b/other" } });
    expect((await faults()).map((fault) => fault.split(" ").slice(0, 2).join(" "))).toEqual([
      "a/bad/1.0.0: model.yaml:",
      "a/bad/1.0.0: model.yaml:",
      "b/bad/1.0.0: model.yaml:",
      "b/bad/1.0.0: schemas/models/b/bad/1.0.0/input.json:",
      "b/bad/1.0.0: schemas/models/b/bad/1.0.0/output.json:",
    ]);
  });
});
