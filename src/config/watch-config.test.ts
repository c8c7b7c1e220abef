import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { loadConfig } from "./load-config.ts";
import { type ConfigWatch, watchConfig } from "./watch-config.ts";

let folder: string;
let watch: ConfigWatch;
let config: ReturnType<typeof loadConfig>;
let said: string[];
let changes: number;
const write = (text: string) => writeFileSync(join(folder, "site.yaml"), text);
const note = (level: string) => (fields: object, message: string) =>
  void said.push(`${level} ${message} ${JSON.stringify(fields)}`);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tempera-watch-"));
  write("log: { level: info }\nserver: { port: 9000, runsMax: 5 }\n");
  const env = { TEMPERA_CONFIG: folder, TEMPERA_SESSIONS_MAX: "7" };
  config = loadConfig(env);
  said = [];
  changes = 0;
  watch = watchConfig({
    config,
    env,
    log: {
      debug: note("debug"),
      info: note("info"),
      warn: note("warn"),
      error: (_, message) => void said.push(`error ${message}`),
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

it("what is live changes where everybody reads it, the rest is said to need a restart, once", () => {
  const { server } = config;
  write("log: { level: debug }\nserver: { port: 9001, runsMax: 6 }\n");
  watch.look();
  watch.look();
  expect(config.log.level).toBe("debug");
  expect(server.runsMax).toBe(6);
  expect(server.port).toBe(9000);
  expect(changes).toBe(1);
  expect(said).toEqual([
    'info the configuration changed and is in effect {"settings":"server.runsMax, log.level"}',
    'warn the configuration changed; this needs a restart {"settings":"server.port"}',
  ]);
});

it("a file that becomes faulty changes nothing, and its correction counts", () => {
  write("log: { level: debug }\nserver: { rnsMax: 6 }\n");
  watch.look();
  expect(config.log.level).toBe("info");
  expect(said).toEqual(["error a configuration file changed and is faulty; what was in effect stays"]);
  write("log: { level: debug }\nserver: { port: 9000 }\n");
  watch.look();
  expect(config.log.level).toBe("debug");
  expect(config.server.runsMax).toBe(1000);
});

it("a new file counts, and never over the environment", () => {
  writeFileSync(join(folder, "zz.yaml"), "realtime: { sessionsMax: 8, socketsMax: 9 }");
  watch.look();
  expect(config.realtime).toMatchObject({ sessionsMax: 7, socketsMax: 9 });
});

it.skipIf(process.getuid?.() === 0)(
  "a folder that cannot be read for a while ends nothing, and what comes after is seen",
  () => {
    chmodSync(folder, 0o000);
    watch.look();
    chmodSync(folder, 0o700);
    expect(said).toEqual(["error a configuration file changed and is faulty; what was in effect stays"]);
    expect(config.server).toMatchObject({ port: 9000, runsMax: 5 });
    write("log: { level: debug }\nserver: { port: 9000, runsMax: 5 }\n");
    watch.look();
    expect(config.log.level).toBe("debug");
  },
);
