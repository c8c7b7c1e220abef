import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadConfig, readConfig } from "./load-config.ts";
import { SETTINGS, type Setting } from "./settings.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tempera-config-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/**
 * Loads the configuration of a file and an environment. `TEMPERA_CONFIG` names the file, so that no
 * `tempera.yaml` of this folder is read.
 */
function load(text: string, env: Record<string, string> = {}): ReturnType<typeof loadConfig> {
  const path = join(folder, "tempera.yaml");
  writeFileSync(path, text);
  return loadConfig({ TEMPERA_CONFIG: path, ...env });
}

/** Lists the faults of a configuration that is refused. */
function faults(text: string, env: Record<string, string> = {}): string[] {
  try {
    load(text, env);
  } catch (error) {
    return (error as Error).message
      .split("\n")
      .slice(1)
      .map((line) => line.trim());
  }
  throw new Error("accepted");
}

describe("precedence", () => {
  it("overrides defaults with the file, and the file with the environment", () => {
    const text = "server: { port: 9000, host: 0.0.0.0 }";
    expect(load("").server).toMatchObject({ port: 8080, host: "127.0.0.1" });
    expect(load(text).server).toMatchObject({ port: 9000, host: "0.0.0.0", adminPort: 8081 });
    expect(load(text, { TEMPERA_PORT: "9001" }).server).toMatchObject({ port: 9001, host: "0.0.0.0" });
  });

  it("treats an empty variable as absent", () => {
    expect(load("server: { port: 9000 }", { TEMPERA_PORT: "" }).server.port).toBe(9000);
    expect(load("", { DATABASE_URL: "", REDIS_URL: "" })).toMatchObject({
      postgres: { url: undefined },
      redis: { url: undefined },
    });
    expect(loadConfig({ TEMPERA_CONFIG: "", TEMPERA_HOST: "::1" }).server.host).toBe("::1");
  });

  it("overrides everything with the command line, and names the source of every value", () => {
    const path = join(folder, "tempera.yaml");
    writeFileSync(path, "server:\n  port: 9000\n  host: 0.0.0.0\n  adminPort: 9002\n");
    const env = { TEMPERA_CONFIG: path, TEMPERA_HOST: "::1", TEMPERA_PORT: "9001" };
    const { config, sources } = readConfig(env, ["server.port=9003", "webhooks.delays=1,2"]);
    expect(config.server).toMatchObject({ port: 9003, host: "::1", adminPort: 9002 });
    expect(config.webhooks.delays).toEqual([1, 2]);
    const of = (name: string) => sources.get(name);
    expect([of("server.port"), of("server.host"), of("server.adminPort"), of("server.runsMax")]).toEqual([
      "--set",
      "TEMPERA_HOST",
      `${path}:4`,
      "default",
    ]);
  });

  it("reads the YAML files of a folder by name, and a later one wins", () => {
    writeFileSync(join(folder, "20-site.yaml"), "server: { port: 2 }");
    writeFileSync(join(folder, "10-base.yml"), "server: { port: 1, host: base }");
    writeFileSync(join(folder, "README.md"), "server: {");
    expect(loadConfig({ TEMPERA_CONFIG: folder }).server).toMatchObject({ port: 2, host: "base" });
  });

  it("reads tempera.yaml, then config/*.yaml of this folder, without TEMPERA_CONFIG", () => {
    const here = process.cwd();
    mkdirSync(join(folder, "config"));
    writeFileSync(join(folder, "tempera.yaml"), "server: { port: 1, adminPort: 2 }");
    writeFileSync(join(folder, "config", "site.yaml"), "server: { port: 3 }");
    try {
      process.chdir(folder);
      expect(loadConfig({}).server).toMatchObject({ port: 3, adminPort: 2 });
    } finally {
      process.chdir(here);
    }
  });

  it("treats a null in the file as absent", () =>
    expect(load("server:\n  port:\nredis:\n").server.port).toBe(8080));

  it("accepts every default in its own setting", () => {
    for (const settings of Object.values(SETTINGS) as Record<string, Setting<unknown>>[])
      for (const { schema, default: fallback } of Object.values(settings))
        if (fallback !== undefined) expect(schema.parse(fallback)).toEqual(fallback);
  });

  it("gives every setting a variable of its own", () => {
    const names = (Object.values(SETTINGS) as Record<string, Setting<unknown>>[]).flatMap((settings) =>
      Object.values(settings).map(({ env }) => env),
    );
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).toMatch(/^[A-Z][A-Z0-9_]+$/);
  });
});

describe("faults", () => {
  it("are reported all together, each with its source", () => {
    const found = faults(
      "server: { port: 99999 }\nlog: { level: loud }\nworkers: {}\nredis: { uri: x }\nfolders: models",
      {
        DATABASE_URL: "mysql://x",
        TEMPERA_GRACE_SECONDS: "soon",
      },
    );
    expect(found).toHaveLength(7);
    expect(found.join("\n")).toMatch(
      /tempera\.yaml:3: "workers" is not a group of settings; did you mean "worker"\?$/m,
    );
    expect(found.join("\n")).toMatch(
      /tempera\.yaml:4: redis\.uri: there is no such setting; did you mean "url"\?$/m,
    );
    expect(found.join("\n")).toMatch(/tempera\.yaml:5: folders: must be a mapping of settings$/m);
    expect(found.join("\n")).toMatch(/tempera\.yaml:1: server\.port: .*65535.* \(is 99999\)$/m);
    expect(found.join("\n")).toMatch(/tempera\.yaml:2: log\.level: .*"debug".* \(is "loud"\)$/m);
    expect(found.join("\n")).toMatch(
      /^DATABASE_URL: postgres\.url: must be a URL with postgres:\/\/ or postgresql:\/\/$/m,
    );
    const [percent] = faults("", { DATABASE_URL: "postgres://u:100%@db/t" });
    expect(percent).toBe(
      "DATABASE_URL: postgres.url: has a % in its user or password that is not percent-encoded; write %25",
    );
    expect(found.join("\n")).toMatch(
      /^TEMPERA_GRACE_SECONDS: worker\.graceSeconds: .*number.* \(is "soon"\)$/m,
    );
  });

  it("lists all names for a name that is similar to none", () =>
    expect(faults("server: { colour: red }").join()).toMatch(
      /server\.colour: there is no such setting \(host, port, adminPort, /,
    ));

  it.each([
    ["prot", "port"],
    ["Port", "port"],
    ["body_bytes_max", "bodyBytesMax"],
    ["publicURL", "publicUrl"],
  ])("refuses server.%s and suggests the nearest right name, %s", (wrong, right) =>
    expect(faults(`server: { ${wrong}: 1 }`)).toEqual([
      expect.stringMatching(`:1: server\\.${wrong}: there is no such setting; did you mean "${right}"\\?$`),
    ]),
  );

  it("refuses one host name for files and for the API, and takes two", () => {
    const server = (files: string) => `server: { publicUrl: "https://a.example/x", filesUrl: "${files}" }`;
    expect(faults(server("https://a.example:444")).join()).toMatch(
      /server\.filesUrl: must have another host name than server\.publicUrl \(both have a\.example\)/,
    );
    expect(() => faults(server("https://files.a.example"))).toThrow("accepted");
  });

  it.each(["toString", "constructor", "__proto__"])("refuses an unknown group called %s", (name) =>
    expect(faults(`${name}: {}`).join()).toContain(`"${name}" is not a group`),
  );

  it.each(["abc", " ", "0x1F", "1e3", "8080.5", "-1", "65536", "99999999999999999999", "8080,8081", "true"])(
    "refuses TEMPERA_PORT=%j",
    (value) => expect(faults("", { TEMPERA_PORT: value })).toHaveLength(1),
  );

  it.each(["true", "[8080]", "[]", "{}", "'x'", ".inf", ".nan"])("refuses server.port: %s", (value) =>
    expect(faults(`server: { port: ${value} }`)).toHaveLength(1),
  );

  it.each([
    ["0", 0],
    [" 8080 ", 8080],
    ["65535", 65_535],
  ])("accepts TEMPERA_PORT=%j", (value, port) =>
    expect(load("", { TEMPERA_PORT: value }).server.port).toBe(port),
  );

  it("reports a named file that does not exist", () => {
    expect(() => loadConfig({ TEMPERA_CONFIG: join(folder, "none.yaml") })).toThrow(
      /TEMPERA_CONFIG: there is no file or folder .*none\.yaml/,
    );
    expect(() => loadConfig({ TEMPERA_CONFIG: "" }, ["server.port"])).toThrow(
      /--set: must be <group>\.<name>=<value>/,
    );
  });

  it.each(["server: [", "- a\n- b", "text", "server: { port: 1 }\nserver: { port: 2 }"])(
    "refuses a file that is not a mapping: %j",
    (text) => expect(faults(text)).toHaveLength(1),
  );
});

describe("a secret as a file", () => {
  const secretFile = (text: string): string => {
    const path = join(folder, "secret");
    writeFileSync(path, text);
    return path;
  };

  it("is read when the environment or the configuration file names it", () => {
    const path = secretFile("s3-secret\n");
    expect(load("", { S3_SECRET_KEY_FILE: path }).objects.secretKey).toBe("s3-secret");
    expect(load(`objects: { secretKey: { file: ${JSON.stringify(path)} } }`).objects.secretKey).toBe(
      "s3-secret",
    );
    expect(load("objects: { secretKey: other }", { S3_SECRET_KEY_FILE: path }).objects.secretKey).toBe(
      "s3-secret",
    );
  });

  it("is refused when it is empty, missing, given twice or not for a secret", () => {
    expect(faults("", { S3_SECRET_KEY_FILE: secretFile("\n") })).toEqual([
      expect.stringMatching(/^S3_SECRET_KEY_FILE: objects\.secretKey: .* is empty$/),
    ]);
    expect(faults("", { S3_SECRET_KEY_FILE: join(folder, "none") })).toEqual([
      expect.stringMatching(/cannot be read \(ENOENT\)$/),
    ]);
    expect(faults("", { S3_SECRET_KEY_FILE: secretFile("x"), S3_SECRET_KEY: "y" })).toEqual([
      "S3_SECRET_KEY and S3_SECRET_KEY_FILE are both set; set one of them",
    ]);
    expect(faults(`server: { port: { file: x } }`)).toHaveLength(1);
  });

  it("is not printed when its value is wrong", () => {
    const [fault] = faults("", { DATABASE_URL_FILE: secretFile("mysql://hunter2hunter2") });
    expect(fault).toMatch(/^DATABASE_URL_FILE: postgres\.url: must be a URL/);
    expect(fault).not.toContain("hunter2");
  });

  it("is refused on the command line", () => {
    expect(() => loadConfig({}, ["objects.secretKey=hunter2hunter2"])).toThrow(
      /--set objects\.secretKey: a secret on a command line .* S3_SECRET_KEY_FILE/,
    );
    expect(() => loadConfig({}, ["objects.secretKey=hunter2hunter2"])).not.toThrow(/hunter2/);
    expect(() => loadConfig({}, ["server.prot=1"])).toThrow(
      /--set server\.prot: there is no such setting; did you mean "server\.port"\?/,
    );
  });
});

describe("secrets are never printed", () => {
  const SECRET = "hunter2hunter2hunter2";

  it.each([
    ["DATABASE_URL", `mysql://user:${SECRET}@host/db`],
    ["REDIS_URL", `http://:${SECRET}@host`],
    ["TEMPERA_ADMIN_KEY", SECRET],
    ["TEMPERA_PAYLOAD_KEYS", `first:${SECRET}`],
    ["TEMPERA_PAYLOAD_KEYS", SECRET],
    ["TEMPERA_KEY_PEPPER", `${SECRET},short`],
  ])("%s in the environment", (name, value) => {
    const [fault, ...more] = faults("", { [name]: value });
    expect(more).toEqual([]);
    expect(fault).toContain(name);
    expect(fault).not.toContain(SECRET);
  });

  it.each([
    ["a wrong value", `postgres: { url: "mysql://user:${SECRET}@host/db" }`],
    ["a wrong type", `objects: { secretKey: { value: ${SECRET} } }`],
    ["a list", `objects: { secretKey: [${SECRET}] }`],
    ["a value in place of a section", `postgres: postgres://user:${SECRET}@host/db`],
    ["an alias", `objects:\n  secretKey: *${SECRET}`],
    ["a tag", `objects:\n  secretKey: !${SECRET} {}`],
    ["text that is not YAML", `objects:\n  secretKey: "${SECRET}`],
    ["more text that is not YAML", `objects:\n  secretKey: a: ${SECRET}: [`],
    ["a directive", `%${SECRET}\nobjects: [`],
  ])("%s in the file", (_name, text) => {
    const found = faults(text);
    expect(found.length).toBeGreaterThan(0);
    expect(found.join("\n")).not.toContain(SECRET);
  });
});
