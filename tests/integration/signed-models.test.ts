/** A platform that trusts one key: whoever pushes or writes into the database without it serves nothing. */
import { cp, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { VersionView } from "../../src/api/admin/routes/models/registry.ts";
import { openRegistry } from "../../src/bin/open-registry.ts";
import { packModel, readModelFolder } from "../../src/cli/pack-model.ts";
import { makeSigningKey, signatureOf, signModelFolder } from "../../src/cli/sign-model.ts";
import { parseJson } from "../../src/core/json/exact-json.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";
import { type PushedModel, writePackage } from "./pushed-model.ts";
import { runTempera } from "./tempera-command.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const FOLDER_MODEL = "acme/folder";

let test: TestPlatform;
let root: string;
let schemas: string;
let ours: string;
let strangers: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "tempera-signed-"));
  [ours, strangers] = [join(root, "ours.key"), join(root, "strangers.key")];
  const { publicKey } = makeSigningKey(ours);
  makeSigningKey(strangers);
  schemas = join(root, "schemas");
  await cp(join(PROJECT, "schemas/manifest.json"), join(schemas, "manifest.json"));
  await writeFolderModel(join(root, "models"));
  signModelFolder(join(root, "models", FOLDER_MODEL, "1.0.0"), schemas, ours);
  test = await startTestPlatform({
    TEMPERA_MODELS: join(root, "models"),
    TEMPERA_SCHEMAS: schemas,
    TEMPERA_REGISTRY_TRUSTED_KEYS: publicKey,
  });
});
afterAll(async () => {
  await test[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});

/** Writes a package into a models folder, its schemas into that of the schemas. */
async function writeFolderModel(models: string): Promise<string> {
  const made = await writePackage(join(models, "made"), { endpoint: FOLDER_MODEL });
  const folder = join(models, FOLDER_MODEL, "1.0.0");
  await cp(join(made, "schemas"), join(schemas, "models", FOLDER_MODEL, "1.0.0"), { recursive: true });
  await cp(made, folder, { recursive: true });
  await rm(join(models, "made"), { recursive: true });
  await rm(join(folder, "schemas"), { recursive: true });
  return folder;
}

const folderOf = async (model: PushedModel) => readModelFolder(await writePackage(root, model), schemas);

async function push(folder: Awaited<ReturnType<typeof folderOf>>, signature?: string) {
  await using packed = await packModel(folder, signature);
  const answer = await fetch(`${test.platform.adminUrl}/v1/registry/versions`, {
    method: "POST",
    headers: { authorization: `Key ${test.platform.key}`, "content-type": "application/gzip" },
    body: new Uint8Array(await readFile(packed.file)),
  });
  return { status: answer.status, text: await answer.text() };
}

async function publish(endpoint: string): Promise<void> {
  const folder = await folderOf({ endpoint });
  expect((await push(folder, signatureOf(folder, ours))).status).toBe(201);
}

const run = async (endpoint: string): Promise<number> => {
  const answer = await test.call(`/${endpoint}`, { method: "POST", body: JSON.stringify({ prompt: "x" }) });
  return answer.status;
};

describe("a push is refused with 422 and the remedy", () => {
  it("without a signature", async () =>
    expect(await push(await folderOf({ endpoint: "acme/unsigned" }))).toEqual({
      status: 422,
      text: expect.stringContaining("signature.dsse.json: missing: this server serves signed packages only"),
    }));

  it("with the signature of a stranger", async () => {
    const folder = await folderOf({ endpoint: "acme/foreign" });
    expect(await push(folder, signatureOf(folder, strangers))).toEqual({
      status: 422,
      text: expect.stringContaining("is not by a trusted key"),
    });
  });

  it("with a manifest that was changed after its signature", async () => {
    const signature = signatureOf(await folderOf({ endpoint: "acme/altered" }), ours);
    const altered = await folderOf({ endpoint: "acme/altered", manifest: { memoryMiB: 9 } });
    expect(await push(altered, signature)).toEqual({
      status: 422,
      text: expect.stringContaining("is for another model.yaml than that of this package"),
    });
  });

  it("with other weights than those that were signed", async () => {
    const folder = await folderOf({ endpoint: "acme/weights" });
    const signature = signatureOf(folder, ours);
    await writeFile(folder.files.get("weights.bin") ?? "", "other");
    expect(await push(folder, signature)).toEqual({
      status: 422,
      text: expect.stringContaining("weights.bin: digest is"),
    });
  });

  it("with the signature of another version", async () => {
    const signature = signatureOf(await folderOf({ endpoint: "acme/replayed" }), ours);
    const other = await folderOf({ endpoint: "acme/replayed", version: "2.0.0" });
    expect(await push(other, signature)).toEqual({
      status: 422,
      text: expect.stringContaining("is for another model.yaml"),
    });
  });
});

it("serves what is signed, from the models folder and pushed, also with its own signature file", async () => {
  const folder = await writePackage(root, { endpoint: "acme/signed" });
  signModelFolder(folder, schemas, ours);
  expect((await push(readModelFolder(folder, schemas))).status).toBe(201);
  for (const endpoint of [FOLDER_MODEL, "acme/signed"]) await expect.poll(() => run(endpoint)).toBe(200);
});

const command = (...args: string[]) => runTempera(test, ...args);

it("lists a version that it does not serve, with the reason, and lets an operator remove it", async () => {
  await publish("acme/listed");
  await test.sql`
    INSERT INTO model_versions
      (endpoint, version, digest, manifest, input_schema, output_schema, state, pushed_by)
    SELECT endpoint, '2.0.0', digest, manifest, input_schema, output_schema, state, pushed_by
    FROM model_versions WHERE endpoint = 'acme/listed'`;
  const versions = async (): Promise<VersionView[]> => {
    const { stdout } = await command("models", "list", "--all", "--json");
    return parseJson<VersionView[]>(stdout).filter(({ endpoint_id }) => endpoint_id === "acme/listed");
  };
  const reason = "signature.dsse.json: missing: this server serves signed packages only";
  expect(await versions()).toMatchObject([
    {
      version: "2.0.0",
      state: "enabled",
      serves: false,
      refused: expect.stringContaining(reason),
      title: null,
    },
    { version: "1.0.0", state: "enabled", serves: true, refused: null, title: "Echo 1.0.0" },
  ]);
  const { stdout } = await command("models", "list", "--all");
  expect(stdout).toMatch(
    /^acme\/listed +2\.0\.0 +enabled +refused +pushed .* signature\.dsse\.json: missing/m,
  );
  const shown = await command("models", "show", "acme/listed", "2.0.0").catch(
    (error: Error) => error.message,
  );
  expect(shown).toContain(`acme/listed 2.0.0 is refused: ${reason}`);
  await command("models", "remove", "acme/listed", "2.0.0");
  expect(await versions()).toMatchObject([
    { state: "removed", refused: expect.anything() },
    { serves: true },
  ]);
});

it("has commands that make a key, sign a package with it, and push what they signed", async () => {
  const folder = await writePackage(root, { endpoint: "acme/commands" });
  const tempera = (...args: string[]) =>
    command("models", ...args).then(
      ({ stdout }) => stdout,
      ({ stderr }: { stderr: string }) => stderr,
    );
  const made = join(root, "made.key");
  expect(await tempera("keygen", made)).toBe(await readFile(`${made}.pub`, "utf8"));
  expect((await stat(made)).mode & 0o777).toBe(0o600);
  expect(await tempera("keygen", made)).toContain("a key is not overwritten");
  expect(await tempera("sign", folder, "--sign-key", made)).toBe("signed  acme/commands 1.0.0\n");
  expect(await tempera("push", folder)).toContain("is not by a trusted key");
  expect(await tempera("push", folder, "--sign-key", `${ours}.pub`)).toContain(
    "no private Ed25519 key in PEM",
  );
  expect(await tempera("push", folder, "--sign-key", ours)).toMatch(/^acme\/commands 1\.0\.0 /);
});

it("does not start with an unsigned package in its models folder", async () => {
  const models = join(root, "unsigned-models");
  await writeFolderModel(models);
  const config = { ...test.config, folders: { ...test.config.folders, models } };
  await expect(openRegistry(config)).rejects.toThrow(/signature\.dsse\.json: missing.*tempera models sign/s);
});

describe("whoever writes into the database without the key", () => {
  /** The rows of a version, as the platform's own role may change them. */
  const attacks: [string, (endpoint: string) => PromiseLike<unknown>][] = [
    [
      "inserts a version",
      (endpoint) => test.sql`
        INSERT INTO model_versions (endpoint, version, digest, manifest, input_schema, output_schema, state,
                                    pushed_by)
        SELECT endpoint, '2.0.0', digest, manifest, input_schema, output_schema, state, pushed_by
        FROM model_versions WHERE endpoint = ${endpoint}`,
    ],
    [
      "copies a version's row, signature included, to a newer one",
      (endpoint) => test.sql`
        INSERT INTO model_versions (endpoint, version, digest, manifest, input_schema, output_schema, state,
                                    pushed_by, signed)
        SELECT endpoint, '2.0.0', digest, manifest, input_schema, output_schema, state, pushed_by, signed
        FROM model_versions WHERE endpoint = ${endpoint}`,
    ],
    [
      "changes the signed texts",
      (endpoint) => test.sql`
        UPDATE model_versions SET signed = replace(signed::text, 'For tests.', 'For thieves.')::json
        WHERE endpoint = ${endpoint}`,
    ],
    [
      "takes the signature away",
      (endpoint) => test.sql`UPDATE model_versions SET signed = NULL WHERE endpoint = ${endpoint}`,
    ],
    [
      "names other weights",
      (endpoint) => test.sql`
        WITH other AS (
          INSERT INTO model_blobs (sha256, object_key, bytes)
          VALUES (${"e".repeat(64)}, ${`weights/${endpoint}`}, 4) RETURNING sha256)
        UPDATE model_files SET sha256 = other.sha256 FROM other WHERE endpoint = ${endpoint}`,
    ],
    [
      "adds a file outside its folder",
      (endpoint) => test.sql`
        INSERT INTO model_files (endpoint, version, path, sha256)
        SELECT endpoint, version, '../../evil', sha256 FROM model_files WHERE endpoint = ${endpoint}`,
    ],
  ];

  it.each(attacks)("and %s gets nothing served by a process that starts", async (_, attack) => {
    const endpoint = `acme/attacked-${attacks.findIndex(([name]) => name === _)}`;
    await publish(endpoint);
    await attack(endpoint);
    await using started = await test.gatewayHere();
    const served = started.parts.registry.published().filter((version) => version.endpoint === endpoint);
    // Of an attack with another version, the signed one is served on.
    expect(served.filter(({ version }) => version === "2.0.0")).toEqual([]);
    const isOther = (await test.sql`SELECT FROM model_versions WHERE endpoint = ${endpoint}`).length === 2;
    expect(served.map(({ version }) => version)).toEqual(isOther ? ["1.0.0"] : []);
  });

  it("and changes the manifest beside the signed one changes nothing that is served", async () => {
    const endpoint = "acme/beside";
    await publish(endpoint);
    await test.sql`ALTER TABLE model_versions DISABLE TRIGGER model_version_stays`;
    await test.sql`
      UPDATE model_versions
      SET manifest = replace(manifest::text, '"runner":"stub"', '"runner":"evil"')::json,
          input_schema = '{"type":"object"}'
      WHERE endpoint = ${endpoint}`;
    await test.sql`ALTER TABLE model_versions ENABLE TRIGGER model_version_stays`;
    await using started = await test.gatewayHere();
    expect(started.parts.registry.find(endpoint, "1.0.0")).toMatchObject({
      runner: "stub",
      schemas: { input: { properties: { prompt: {} } } },
    });
  });
});

it("serves a version that was published without a signature once it is pushed again with one", async () => {
  const endpoint = "acme/later";
  await publish(endpoint);
  await test.sql`UPDATE model_versions SET signed = NULL WHERE endpoint = ${endpoint}`;
  await using started = await test.gatewayHere();
  const find = () => started.parts.registry.find(endpoint, "1.0.0");
  expect(find()).toBeUndefined();
  await publish(endpoint);
  await started.parts.registry.refresh();
  expect(find()).toMatchObject({ endpoint });
});
