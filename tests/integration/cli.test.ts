/** The `tempera` command, run as its users run it, against a running platform. */
import { execFile, spawn } from "node:child_process";
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Semaphore } from "../../src/core/concurrency/semaphore.ts";
import { parseJson } from "../../src/core/json/exact-json.ts";
import type { JsonObject } from "../../src/core/json/json.ts";
import { falDocument } from "../../src/registry/fal-import/fal-document.fixture.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";
import { writePackage } from "./pushed-model.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const STUB = "tempera/stub";

interface Ended {
  code: number;
  out: string;
  err: string;
}

let test: TestPlatform;
let folder: string;
beforeAll(async () => {
  test = await startTestPlatform();
  folder = await mkdtemp(join(tmpdir(), "tempera-cli-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await test[Symbol.asyncDispose]();
});

const environment = (env: Record<string, string> = {}): NodeJS.ProcessEnv => ({
  ...process.env,
  TEMPERA_URL: test.platform.url,
  TEMPERA_ADMIN_URL: test.platform.adminUrl,
  TEMPERA_KEY: test.platform.key,
  TEMPERA_DATA: folder,
  ...env,
});

const programs = new Semaphore(4);
/** `npx tempera …`, through the program that npm links. */
async function tempera(args: string[], env?: Record<string, string>): Promise<Ended> {
  const release = await programs.acquire();
  const ended = await new Promise<Ended>((done) =>
    execFile(
      process.execPath,
      [join(PROJECT, "scripts/tempera.mjs"), ...args],
      { cwd: PROJECT, env: environment(env) },
      (error, out, err) => done({ code: error ? Number(error.code ?? 1) : 0, out, err }),
    ),
  );
  release();
  return ended;
}

describe("requests", () => {
  it("shows progress and prints the output with submit --wait", async () => {
    const { code, out, err } = await tempera([
      "submit",
      STUB,
      "--input",
      '{"prompt":"hi","delay_ms":200,"steps":4}',
      "--wait",
    ]);
    expect(err).toMatch(/step 4\/4/);
    expect(JSON.parse(out)).toMatchObject({ echo: "hi" });
    expect(code).toBe(0);
  });

  it("submits from a file, then prints status, logs -f and result", async () => {
    const file = join(folder, "input.json");
    await writeFile(file, '{"prompt":"from a file","unknown":1}');
    const { out } = await tempera(["submit", STUB, "-i", file]);
    expect(out).toMatch(/^[0-9a-f-]{36}\n$/);
    const id = out.trim();
    const logs = await tempera(["logs", STUB, id, "-f"]);
    expect(logs.out).toMatch(/unknown/);
    expect(JSON.parse((await tempera(["status", STUB, id])).out)).toMatchObject({ status: "COMPLETED" });
    expect(JSON.parse((await tempera(["result", STUB, id])).out)).toMatchObject({ echo: "from a file" });
  });

  it("prints the whole response of a submit with --json", async () => {
    const { out } = await tempera(["submit", STUB, "-i", "{}", "--json"]);
    expect(JSON.parse(out)).toMatchObject({ status: "IN_QUEUE", request_id: expect.any(String) });
  });

  it("cancels a request; its waiting submit ends with the error and exit status 1", async () => {
    const child = spawn(
      process.execPath,
      [
        join(PROJECT, "scripts/tempera.mjs"),
        "submit",
        STUB,
        "-i",
        '{"delay_ms":60000,"steps":600}',
        "--wait",
      ],
      { cwd: PROJECT, env: environment() },
    );
    let printed = "";
    const id = await new Promise<string>((found) => {
      child.stderr.on("data", (chunk: Buffer) => {
        printed += chunk;
        const [, seen] = /request (\S+)[\s\S]*step/.exec(printed) ?? [];
        if (seen) found(seen);
      });
    });
    const ended = new Promise<number | null>((done) => child.once("exit", done));
    expect((await tempera(["cancel", STUB, id])).code).toBe(0);
    expect(await ended).toBe(1);
    expect(printed).toMatch(/cancelled by its caller/);
    expect(await tempera(["cancel", STUB, id])).toMatchObject({
      code: 1,
      err: expect.stringContaining("already completed"),
    });
  });

  it("prints an error as one line with the reason and the remedy", async () => {
    const cases: [string[], Record<string, string>, RegExp][] = [
      [
        ["submit", "fal-ai/qwen-image", "-i", '{"num_images":9}'],
        {},
        /^tempera: prompt: Field required; num_images: Input should be less than or equal to 4$/,
      ],
      [["submit", STUB, "-i", "{"], {}, /^tempera: --input is not JSON/],
      [["submit", STUB, "-i", "/no/such/file.json"], {}, /^tempera: --input: ENOENT/],
      [["status", STUB, "nonsense"], {}, /^tempera: There is no such request/],
      [
        ["status", STUB, "x"],
        { TEMPERA_KEY: "nonsense" },
        /^tempera: Invalid Key Authorization header format/,
      ],
      [
        ["status", STUB, "x"],
        { TEMPERA_URL: "http://localhost:9" },
        /^tempera: No platform answers at http:\/\/localhost:9 .*npm start/,
      ],
      [
        ["status", STUB, "x"],
        { TEMPERA_KEY: "", FAL_KEY: "", TEMPERA_DATA: join(folder, "nowhere") },
        /^tempera: There is no key; set TEMPERA_KEY/,
      ],
    ];
    const ended = await Promise.all(cases.map(([args, env]) => tempera(args, env)));
    for (const [i, { code, err, out }] of ended.entries()) {
      expect(err.trim()).toMatch(cases[i]?.[2] as RegExp);
      expect(err.trim().split("\n")).toHaveLength(1);
      expect(out).toBe("");
      expect(code).toBe(1);
    }
  });
});

describe("keys", () => {
  it("shows the secret of a new key once; the key works until it is revoked", async () => {
    const created = await tempera(["keys", "create", "for the tests", "--owner", "testers"]);
    const key = created.out.trim();
    expect(key).toMatch(/^[0-9a-f-]{36}:[0-9a-f]{64}$/);
    expect((await tempera(["submit", STUB, "-i", "{}"], { TEMPERA_KEY: key })).code).toBe(0);
    const listed = await tempera(["keys", "list"]);
    expect(listed.out).toMatch(/for the tests\s+API\s+testers/);
    expect(listed.out).not.toContain(key.split(":")[1]);
    expect(await tempera(["keys", "list"], { TEMPERA_KEY: key })).toMatchObject({
      code: 1,
      err: expect.stringContaining("ADMIN"),
    });
    expect((await tempera(["keys", "revoke", key.split(":")[0] ?? ""])).code).toBe(0);
    await expect
      .poll(async () => (await tempera(["submit", STUB, "-i", "{}"], { TEMPERA_KEY: key })).err)
      .toMatch(/No user found/);
    expect(await tempera(["keys", "revoke", key.split(":")[0] ?? ""])).toMatchObject({ code: 1 });
  });
});

describe("models of a running platform", () => {
  it("are pushed, listed, rolled out, switched off and disabled; an error is one line", async () => {
    const endpoint = "acme/cli";
    const pushed = await tempera(["models", "push", await writePackage(folder, { endpoint })]);
    expect(pushed).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^acme\/cli 1\.0\.0 {2}[0-9a-f]{12}\n$/),
    });
    expect((await tempera(["models", "list", "--all"])).out).toMatch(
      /acme\/cli +1\.0\.0 +enabled +serves +pushed/,
    );

    const narrower = {
      endpoint,
      version: "1.1.0",
      input: { type: "object", properties: { prompt: { type: "string", maxLength: 5 } } },
    };
    const newer = await writePackage(folder, narrower);
    const refused = await tempera(["models", "push", newer]);
    expect(refused).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^tempera: .*input\.prompt: maxLength 1000 became 5 \(since 1\.0\.0\)/),
    });
    expect(refused.err.trim().split("\n")).toHaveLength(1);
    const shared = await tempera(["models", "push", newer, "--breaking", "--share", "10"]);
    expect(shared).toMatchObject({ code: 0, err: expect.stringContaining("breaks  input.prompt") });
    expect((await tempera(["rollouts", "list"])).out).toMatch(
      /acme\/cli +1\.0\.0 → 1\.1\.0 +10 % +running +by hand/,
    );
    expect((await tempera(["rollouts", "rollback", endpoint, "--reason", "Not yet."])).err).toBe(
      "acme/cli: 1.0.0 → 1.1.0, rolled back.\n",
    );

    expect((await tempera(["flags", "set", "model", endpoint, "off", "--owner", "somebody"])).err).toBe(
      "model acme/cli is off, for somebody.\n",
    );
    expect((await tempera(["flags", "list"])).out).toMatch(
      /model +acme\/cli +somebody +off[\s\S]*node_cache +Nodes of pipelines/,
    );
    expect((await tempera(["models", "disable", endpoint, "1.0.0"])).err).toBe(
      "acme/cli 1.0.0 is disabled.\n",
    );
  });
});

describe("models import-fal", () => {
  it("writes a package that is checked, pushed and served as it is", async () => {
    const endpoint = "acme/imported";
    using fal = await serveDocument(falDocument(endpoint));
    const env = { TEMPERA_MODELS: join(folder, "imported"), TEMPERA_SCHEMAS: join(folder, "contract") };
    await mkdir(env.TEMPERA_MODELS);
    await mkdir(env.TEMPERA_SCHEMAS);
    await copyFile(join(PROJECT, "schemas/manifest.json"), join(env.TEMPERA_SCHEMAS, "manifest.json"));
    const served = ["--engine", "stub", "--runner", "stub", "--memory-mib", "10", "--openapi-url", fal.url];
    expect(await tempera(["models", "import-fal", endpoint, ...served], env)).toMatchObject({ code: 0 });
    const edit = "fal-ai/qwen-image-edit-plus";
    expect(await tempera(["models", "import-fal", edit], env)).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^restricted {2}image_size, image_urls$/m),
    });
    expect((await tempera(["models", "check"], env)).out).toMatch(
      /^ok {2}acme\/imported 1\.0\.0 .*\nok {2}fal-ai\/qwen-image-edit-plus 1\.0\.0 /,
    );

    for (const name of [endpoint, edit])
      expect(await tempera(["models", "push", join(env.TEMPERA_MODELS, name, "1.0.0")], env)).toMatchObject({
        code: 0,
      });
    const input = JSON.stringify({ prompt: "a boat", seed: 7 });
    const { out } = await tempera(["submit", endpoint, "--input", input, "--wait"]);
    expect(parseJson(out)).toMatchObject({ seed: 7 });
    const images = Array(11).fill("https://files.example.com/boat.png");
    const many = JSON.stringify({ prompt: "a boat", image_urls: images });
    expect(await tempera(["submit", edit, "--input", many])).toMatchObject({
      code: 1,
      err: expect.stringContaining("This version takes at most 10 items of `image_urls`."),
    });
    // Nothing runs it here, so the platform should not keep it for other tests.
    expect(await tempera(["models", "remove", `${edit}@1.0.0`])).toMatchObject({ code: 0 });
  });
});

/** Serves a document as fal does. */
async function serveDocument(document: JsonObject): Promise<Disposable & { url: string }> {
  const server = createServer((_, response) => response.end(JSON.stringify(document)));
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/openapi.json`, [Symbol.dispose]: () => void server.close() };
}

describe("engines", () => {
  interface Quarantine {
    owner: string;
    input_digest: string;
  }
  const quarantines = async (...options: string[]): Promise<Quarantine[]> => {
    const { out } = await tempera(["engines", "quarantines", "--json", ...options]);
    return parseJson<Quarantine[]>(out);
  };

  it("lists quarantines beyond the first page, and lifts one", async () => {
    // A page has a thousand. Each input was alone on an engine at two crashes.
    await test.sql`
      INSERT INTO engine_crashes
        (crash_id, endpoint, version, owner_id, input_digest, request_id, company, cleared)
      SELECT gen_random_uuid(), 'acme/crashing', '1.0.0', 'owner-' || lpad(n::text, 4, '0'), md5(n::text),
             'request ' || crash, 'alone', false
      FROM generate_series(1, 1005) AS n, generate_series(1, 2) AS crash`;
    const owners = Array.from({ length: 1_005 }, (_, at) => `owner-${String(at + 1).padStart(4, "0")}`);
    const all = await quarantines("--limit", "5000");
    expect(all.map(({ owner }) => owner)).toEqual(owners);
    expect(await quarantines("--limit", "1003")).toMatchObject(
      owners.slice(0, 1_003).map((owner) => ({ owner })),
    );
    expect(await quarantines()).toHaveLength(100);

    const { input_digest: input } = all[1_002] as Quarantine;
    const table = (await tempera(["engines", "quarantines", "--limit", "1003"])).out.trim().split("\n");
    expect(table).toHaveLength(1_004);
    expect(table[0]).toMatch(/^ENDPOINT +VERSION +OWNER +INPUT +MINUTES LEFT +REASON/);
    expect(table[1_003]).toMatch(
      new RegExp(
        `^acme/crashing +1\\.0\\.0 +owner-1003 +${input} +60 +This input crashed or hung the engine`,
      ),
    );

    const lift = ["engines", "lift", "acme/crashing", "1.0.0", "owner-1003"];
    expect(await tempera([...lift, "--input", "another"])).toMatchObject({
      code: 0,
      err: "There were no crashes of owner-1003 with acme/crashing 1.0.0 to forget.\n",
    });
    expect(await tempera([...lift, "--input", input])).toMatchObject({
      code: 0,
      err: "2 crashes of owner-1003 with acme/crashing 1.0.0 are forgotten.\n",
    });
    expect((await quarantines("--limit", "5000")).map(({ owner }) => owner)).toEqual(
      owners.filter((owner) => owner !== "owner-1003"),
    );
  });

  it("refuses a limit that is no number in one line, and a lift without its owner", async () => {
    expect(await tempera(["engines", "quarantines", "--limit", "all"])).toMatchObject({
      code: 1,
      err: "tempera: --limit all is not a number from 1 to 9999999.\n",
    });
    expect(await tempera(["engines", "lift", "acme/crashing", "1.0.0"])).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^error: missing required argument 'owner'\n\nUsage: tempera engines lift /),
    });
  });
});

describe("keys that expire", () => {
  it("show their expiry; an invalid time is refused", async () => {
    const { out, err } = await tempera(["keys", "create", "for a while", "--expires", "90d"]);
    expect(err).toContain(`until ${new Date(Date.now() + 90 * 86_400_000).toISOString().slice(0, 10)}`);
    expect((await tempera(["keys", "list"])).out).toMatch(
      new RegExp(`${out.trim().split(":")[0]}\\s+for a while.*never\\s+until `),
    );
    for (const wrong of ["soon", "2020-01-01"])
      expect(await tempera(["keys", "create", "no", "--expires", wrong])).toMatchObject({ code: 1, out: "" });
  });
});

describe("config show", () => {
  it("prints every value with its source, but no secret", async () => {
    const file = join(folder, "site.yaml");
    await writeFile(file, "realtime: { sessionsMax: 7 }\nobjects: { secretKey: hunter2hunter2 }\n");
    const env = { TEMPERA_CONFIG: file, DATABASE_URL: "postgres://me:hunter3@db/x", TEMPERA_HOST: "0.0.0.0" };
    const { out, code } = await tempera(["config", "show", "--set", "server.port=9000"], env);
    expect(code).toBe(0);
    expect(out).toMatch(/server\.port\s+9000\s+--set/);
    expect(out).toMatch(/server\.host\s+0\.0\.0\.0\s+TEMPERA_HOST/);
    expect(out).toMatch(/realtime\.sessionsMax\s+7 sessions\s+.*site\.yaml:1/);
    expect(out).toMatch(/postgres\.url\s+postgres:\/\/me:\*\*\*@db\/x\s+DATABASE_URL/);
    expect(out).not.toContain("hunter");
    const json = JSON.parse((await tempera(["config", "show", "--json"], env)).out) as {
      setting: string;
      source: string;
    }[];
    expect(json).toContainEqual(
      expect.objectContaining({ setting: "worker.graceSeconds", value: 10, unit: "s", source: "default" }),
    );
  });

  it("suggests the nearest name for a misspelt setting", async () => {
    const file = join(folder, "typo.yaml");
    await writeFile(file, "server:\n  prot: 1\n");
    expect(await tempera(["config", "show"], { TEMPERA_CONFIG: file })).toMatchObject({
      code: 1,
      out: "",
      err: expect.stringMatching(
        /typo\.yaml:2: server\.prot: there is no such setting; did you mean "port"\?/,
      ),
    });
  });
});

describe("models and doctor", () => {
  it("lists and checks models", async () => {
    expect((await tempera(["models", "list"])).out).toMatch(
      /fal-ai\/qwen-image\s+1\.0\.0\s+text-to-image\s+onnx/,
    );
    expect((await tempera(["models", "check"])).out).toMatch(/ok {2}tempera\/stub 1\.0\.0/);
    const broken = join(folder, "models");
    await mkdir(join(broken, "a/b/1.0.0"), { recursive: true });
    await writeFile(join(broken, "a/b/1.0.0/model.yaml"), "endpoint: a/b\n");
    expect(await tempera(["models", "check"], { TEMPERA_MODELS: broken })).toMatchObject({
      code: 1,
      err: expect.stringMatching(/a\/b\/1\.0\.0: model\.yaml/),
    });
  });

  it("reports with doctor what is in order, and what is missing with its remedy", async () => {
    const healthy = await tempera(["doctor", "--json"]);
    expect(healthy.code).toBe(0);
    const { findings } = JSON.parse(healthy.out) as { findings: { check: string; state: string }[] };
    expect(findings.find(({ check }) => check === "platform")).toMatchObject({ state: "ok" });
    expect(findings.find(({ check }) => check === "engines")).toMatchObject({
      state: "ok",
      message: expect.stringMatching(/^\d+ models? served$/),
    });
    expect(findings.find(({ check }) => check === "device")).toMatchObject({
      state: "ok",
      message: expect.stringMatching(/^cpu, \d+ MiB for engines of \d+ MiB$/),
    });
    const small = await tempera(["doctor"], { TEMPERA_WORKER_MEMORY_MIB: "100" });
    expect(small.out).toMatch(
      /note +device +cpu, 100 MiB for engines.*too large for it: .*fal-ai\/qwen-image 1\.0\.0 \(\d+ MiB\)/,
    );
    const broken = await tempera(["doctor"], {
      DATABASE_URL: "postgres://nobody:hidden@127.0.0.1:9/none",
      TEMPERA_PORT: "x",
    });
    expect(broken.code).toBe(1);
    expect(broken.out).toMatch(/MISSING +configuration/);
    const unreachable = await tempera(["doctor"], {
      DATABASE_URL: "postgres://nobody:hidden@127.0.0.1:9/none",
    });
    expect(unreachable.out).toMatch(
      /MISSING +PostgreSQL +nothing answers at 127\.0\.0\.1:9[\s\S]*DATABASE_URL/,
    );
    expect(unreachable.out).not.toContain("hidden");
  });

  it("shows usage, finds log lines, and shows and sets retention times", async () => {
    const { code, out } = await tempera(["submit", STUB, "-i", '{"a strange field":1}', "--wait"]);
    expect(JSON.parse(out)).toMatchObject({ attempt: 1 });
    expect(code).toBe(0);
    const find = async (): Promise<string> =>
      (await tempera(["logs", "search", "strange", "field", "--level", "warn"])).out;
    expect(await find()).toContain('does not know: "a strange field"');
    expect((await tempera(["usage"])).out).toMatch(
      /DAY +OWNER +ENDPOINT[\s\S]*tempera\/stub +\d+ +\d+ +\d+ request +0 USD/,
    );
    expect(JSON.parse((await tempera(["usage", "--endpoint", "no/such", "--json"])).out)).toEqual([]);
    expect((await tempera(["usage", "checks"])).code).toBe(0);
    expect((await tempera(["usage", "--from", "yesterday"])).err).toContain("ISO date");
    expect((await tempera(["retention", "run"])).err).toContain("Started");
    const status = await tempera(["retention", "status"]);
    expect(status.out).toMatch(
      /DATA +RETENTION[\s\S]*request +90 days[\s\S]*artifact +forever[\s\S]*expired: next/,
    );
    expect(
      JSON.parse((await tempera(["retention", "set", "acme", "--payloads", "60", "--logs", "never"])).out),
    ).toMatchObject({
      own: { payload_seconds: 60, log_seconds: null },
      effective: { payload_seconds: 60, log_seconds: 90 * 86_400 },
    });
    expect((await tempera(["retention", "set", "acme", "--payloads", "soon"])).err).toContain(
      "neither a number of seconds nor never",
    );
  });

  it("prints the help of every command", async () => {
    const commands = [
      [],
      ["start"],
      ["submit"],
      ["status"],
      ["logs"],
      ["result"],
      ["cancel"],
      ["keys"],
      ["keys", "create"],
      ["keys", "list"],
      ["keys", "revoke"],
      ["engines"],
      ["engines", "list"],
      ["engines", "reset"],
      ["models"],
      ["models", "list"],
      ["models", "check"],
      ["doctor"],
      ["logs", "search"],
      ["usage"],
      ["usage", "checks"],
      ["retention"],
      ["retention", "status"],
      ["retention", "run"],
      ["retention", "set"],
    ];
    for (const { code, out } of await Promise.all(
      commands.map((command) => tempera([...command, "--help"])),
    )) {
      expect(out).toMatch(/^Usage: tempera/);
      expect(code).toBe(0);
    }
  });
});
