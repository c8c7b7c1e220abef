import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadConfig } from "./load-config.ts";
import { SETTINGS, type Setting } from "./settings.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tempera-config-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** The configuration of a file and an environment; the file is named, so that no `tempera.yaml` of this folder is read. */
function load(text: string, env: Record<string, string> = {}): ReturnType<typeof loadConfig> {
  const path = join(folder, "tempera.yaml");
  writeFileSync(path, text);
  return loadConfig({ TEMPERA_CONFIG: path, ...env });
}

/** Why it was refused, one fault a line. */
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
  it("defaults, then the file, then the environment", () => {
    const text = "server: { port: 9000, host: 0.0.0.0 }";
    expect(load("").server).toMatchObject({ port: 8080, host: "127.0.0.1" });
    expect(load(text).server).toMatchObject({ port: 9000, host: "0.0.0.0", adminPort: 8081 });
    expect(load(text, { TEMPERA_PORT: "9001" }).server).toMatchObject({ port: 9001, host: "0.0.0.0" });
  });

  it("an empty variable counts as absent", () => {
    expect(load("server: { port: 9000 }", { TEMPERA_PORT: "" }).server.port).toBe(9000);
    expect(load("", { DATABASE_URL: "", REDIS_URL: "" })).toMatchObject({ postgres: { url: undefined }, redis: { url: undefined } });
    expect(loadConfig({ TEMPERA_CONFIG: "", TEMPERA_HOST: "::1" }).server.host).toBe("::1");
  });

  it("a null in the file counts as absent", () => expect(load("server:\n  port:\nredis:\n").server.port).toBe(8080));

  it("every default fits its own setting", () => {
    for (const settings of Object.values(SETTINGS) as Record<string, Setting<unknown>>[])
      for (const { schema, default: fallback } of Object.values(settings))
        if (fallback !== undefined) expect(schema.parse(fallback)).toEqual(fallback);
  });

  it("every setting has a variable of its own", () => {
    const names = (Object.values(SETTINGS) as Record<string, Setting<unknown>>[]).flatMap((settings) =>
      Object.values(settings).map(({ env }) => env),
    );
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).toMatch(/^[A-Z][A-Z0-9_]+$/);
  });
});

describe("faults", () => {
  it("are named all together, each where it stands", () => {
    const found = faults("server: { port: 99999 }\nlog: { level: loud }\nworkers: {}\nredis: { uri: x }\nfolders: models", {
      DATABASE_URL: "mysql://x",
      TEMPERA_GRACE_SECONDS: "soon",
    });
    expect(found).toHaveLength(7);
    expect(found.join("\n")).toMatch(/"workers" is no group of settings \(server, /);
    expect(found.join("\n")).toMatch(/^redis\.uri: there is no such setting \(url, prefix\)$/m);
    expect(found.join("\n")).toMatch(/^folders: must be a mapping$/m);
    expect(found.join("\n")).toMatch(/^server\.port: .*65535.* \(is 99999\)$/m);
    expect(found.join("\n")).toMatch(/^log\.level: .*"debug".* \(is "loud"\)$/m);
    expect(found.join("\n")).toMatch(/^DATABASE_URL: must be a URL with postgres:\/\/ or postgresql:\/\/$/m);
    expect(found.join("\n")).toMatch(/^TEMPERA_GRACE_SECONDS: .*number.* \(is "soon"\)$/m);
  });

  it.each(["toString", "constructor", "__proto__"])("a group called %s is unknown", (name) =>
    expect(faults(`${name}: {}`).join()).toContain(`"${name}" is no group`),
  );

  it.each(["abc", " ", "0x1F", "1e3", "8080.5", "-1", "65536", "99999999999999999999", "8080,8081", "true"])(
    "TEMPERA_PORT=%j is no port",
    (value) => expect(faults("", { TEMPERA_PORT: value })).toHaveLength(1),
  );

  it.each(["true", "[8080]", "[]", "{}", "'x'", ".inf", ".nan"])("server.port: %s is no port", (value) =>
    expect(faults(`server: { port: ${value} }`)).toHaveLength(1),
  );

  it.each([
    ["0", 0],
    [" 8080 ", 8080],
    ["65535", 65_535],
  ])("TEMPERA_PORT=%j is one", (value, port) => expect(load("", { TEMPERA_PORT: value }).server.port).toBe(port));

  it("a file that is named and not there", () => {
    expect(() => loadConfig({ TEMPERA_CONFIG: join(folder, "none.yaml") })).toThrow(/TEMPERA_CONFIG: there is no file .*none\.yaml/);
    expect(() => loadConfig({ TEMPERA_CONFIG: folder })).toThrow(/EISDIR/);
  });

  it.each(["server: [", "- a\n- b", "text", "server: { port: 1 }\nserver: { port: 2 }"])("a file that is no mapping: %j", (text) =>
    expect(faults(text)).toHaveLength(1),
  );
});

describe("secrets are never printed", () => {
  const SECRET = "hunter2hunter2hunter2";

  it.each([
    ["DATABASE_URL", `mysql://user:${SECRET}@host/db`],
    ["REDIS_URL", `http://:${SECRET}@host`],
    ["TEMPERA_ADMIN_KEY", SECRET],
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
    ["a section that is the value", `postgres: postgres://user:${SECRET}@host/db`],
    ["an alias", `objects:\n  secretKey: *${SECRET}`],
    ["a tag", `objects:\n  secretKey: !${SECRET} {}`],
    ["text that is no YAML", `objects:\n  secretKey: "${SECRET}`],
    ["more text that is no YAML", `objects:\n  secretKey: a: ${SECRET}: [`],
    ["a directive", `%${SECRET}\nobjects: [`],
  ])("%s in the file", (_name, text) => {
    const found = faults(text);
    expect(found.length).toBeGreaterThan(0);
    expect(found.join("\n")).not.toContain(SECRET);
  });
});
