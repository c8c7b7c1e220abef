import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { leakCheck } from "../../tests/setup/leak-check.ts";
import { startEmbeddedStack } from "./embedded-stack.ts";
import { isAlive } from "./services/install-lock.ts";
import { freePort } from "./services/port.ts";

leakCheck();

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-stack-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const freePorts = async () => ({
  temporal: await freePort(),
  temporalUi: await freePort(),
  postgres: await freePort(),
});

test("starts the wanted services, and restarts a killed one at the same address", async () => {
  const lines: string[] = [];
  await using stack = await startEmbeddedStack({
    folder,
    ports: await freePorts(),
    wants: { temporal: true, postgres: true },
    log: (line) => lines.push(line),
  });
  const before = { temporal: stack.temporal, postgres: stack.postgres };
  expect((await fetch(before.temporal?.uiUrl ?? "")).status).toBe(200);

  before.temporal?.kill();
  before.postgres?.kill();
  await expect.poll(() => lines).toEqual(expect.arrayContaining(["Temporal is back", "PostgreSQL is back"]));
  expect([stack.temporal?.url, stack.postgres?.url]).toEqual([before.temporal?.url, before.postgres?.url]);
  expect([stack.temporal?.pid, stack.postgres?.pid]).not.toContain(before.temporal?.pid);

  await stack.stop();
  expect([stack.temporal?.pid, stack.postgres?.pid].map((pid) => isAlive(pid ?? 0))).toEqual([false, false]);
});

test("two first starts at the same time find ports of their own", async () => {
  const stackIn = (name: string) =>
    startEmbeddedStack({
      folder: join(folder, name),
      ports: {},
      wants: { temporal: true, postgres: true },
      log: () => {},
    });
  const [first, second] = await Promise.all([stackIn("first"), stackIn("second")]);
  try {
    const ports = [...Object.values(first.ports), ...Object.values(second.ports)];
    expect(new Set(ports).size).toBe(6);
  } finally {
    await Promise.all([first.stop(), second.stop()]);
  }
});

test("starts no service that is not wanted", async () => {
  await using stack = await startEmbeddedStack({
    folder,
    ports: await freePorts(),
    wants: { temporal: false, postgres: false },
    log: () => {},
  });
  expect([stack.temporal, stack.postgres]).toEqual([undefined, undefined]);
});

test("fails as a whole for a port in use, and names its owner and its variable", async () => {
  const ports = await freePorts();
  const other = createServer().listen(ports.temporalUi, "127.0.0.1");
  await once(other, "listening");
  const start = startEmbeddedStack({
    folder,
    ports,
    wants: { temporal: true, postgres: true },
    log: () => {},
  });
  await expect(start).rejects.toThrow(
    `port ${ports.temporalUi} (Temporal UI) is in use; ` +
      "set TEMPERA_TEMPORAL_UI_PORT or stop the other program",
  );
  other.close();
  await once(other, "close");
});
