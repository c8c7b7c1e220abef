import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { loadConfig } from "./load-config.ts";
import { type ConfigWatch, watchConfig } from "./watch-config.ts";

let folder: string;
let watch: ConfigWatch;
let config: ReturnType<typeof loadConfig>;
let logged: string[];
let changes: number;
const write = (text: string) => writeFileSync(join(folder, "site.yaml"), text);
const note = (level: string) => (fields: object, message: string) =>
  void logged.push(`${level} ${message} ${JSON.stringify(fields)}`);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tempera-watch-"));
  write("log: { level: info }\nserver: { port: 9000, runsMax: 5 }\n");
  const env = { TEMPERA_CONFIG: folder, TEMPERA_SESSIONS_MAX: "7" };
  config = loadConfig(env);
  logged = [];
  changes = 0;
  watch = watchConfig({
    config,
    env,
    log: {
      debug: note("debug"),
      info: note("info"),
      warn: note("warn"),
      error: (_, message) => void logged.push(`error ${message}`),
    },
    onChange: () => {
      changes++;
    },
  });
});
afterEach(() => {
  watch.stop();
  rmSync(folder, { recursive: true });
});

it("applies live settings where all readers see them, and warns once that the others need a restart", () => {
  const { server } = config;
  write("log: { level: debug }\nserver: { port: 9001, runsMax: 6 }\n");
  watch.check();
  watch.check();
  expect(config.log.level).toBe("debug");
  expect(server.runsMax).toBe(6);
  expect(server.port).toBe(9000);
  expect(changes).toBe(1);
  expect(logged).toEqual([
    'info the configuration changed and took effect {"settings":"server.runsMax, log.level"}',
    'warn the configuration changed; restart this process to apply these settings {"settings":"server.port"}',
  ]);
});

it("ignores a file that became faulty, and applies its correction", () => {
  write("log: { level: debug }\nserver: { rnsMax: 6 }\n");
  watch.check();
  expect(config.log.level).toBe("info");
  expect(logged).toEqual([
    "error a configuration file changed and is faulty; the previous configuration stays in effect",
  ]);
  write("log: { level: debug }\nserver: { port: 9000 }\n");
  watch.check();
  expect(config.log.level).toBe("debug");
  expect(config.server.runsMax).toBe(1000);
});

it("applies a new file, but never over the environment", () => {
  writeFileSync(join(folder, "zz.yaml"), "realtime: { sessionsMax: 8, socketsMax: 9 }");
  watch.check();
  expect(config.realtime).toMatchObject({ sessionsMax: 7, socketsMax: 9 });
});

/** Calls as a user whom file modes bind: root may read every folder. */
function asPlainUser(call: () => void): void {
  if (process.geteuid?.() !== 0) {
    call();
    return;
  }
  process.seteuid?.("nobody");
  try {
    call();
  } finally {
    process.seteuid?.(0);
  }
}

it("survives a folder that cannot be read for a while, and applies later changes", () => {
  chmodSync(folder, 0o000);
  asPlainUser(() => watch.check());
  chmodSync(folder, 0o700);
  expect(logged).toEqual([
    "error a configuration file changed and is faulty; the previous configuration stays in effect",
  ]);
  expect(config.server).toMatchObject({ port: 9000, runsMax: 5 });
  write("log: { level: debug }\nserver: { port: 9000, runsMax: 5 }\n");
  watch.check();
  expect(config.log.level).toBe("debug");
});
