import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { choosePorts, readPorts, USUAL_PORTS } from "./kept-ports.ts";
import { freePort } from "./services/port.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-ports-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it("keeps the ports of a folder for its next start", async () => {
  const ports = await choosePorts(folder, { temporal: 0, temporalUi: 0, postgres: 0 });
  expect(new Set(Object.values(ports)).size).toBe(3);
  expect(await readPorts(folder)).toEqual(ports);
  expect(await choosePorts(folder, {})).toEqual(ports);
});

it("takes a free port for one that another program uses, and keeps that", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port: taken } = other.address() as { port: number };
  const before = { temporal: await freePort(), temporalUi: taken, postgres: await freePort() };
  await writeFile(join(folder, "ports.json"), JSON.stringify(before));

  const ports = await choosePorts(folder, {}, { graceMs: 0 });
  expect(ports).toEqual({ ...before, temporalUi: expect.any(Number) });
  expect(ports.temporalUi).not.toBe(taken);
  other.close();
  await once(other, "close");
  expect(await choosePorts(folder, {})).toEqual(ports);
});

it("takes a configured port as it is", async () => {
  expect(await choosePorts(folder, { temporal: 1, temporalUi: 2, postgres: 3 })).toEqual({
    temporal: 1,
    temporalUi: 2,
    postgres: 3,
  });
});

it("begins with the defaults of the settings", async () => {
  expect(await readPorts(folder)).toEqual(USUAL_PORTS);
  await writeFile(join(folder, "ports.json"), "{");
  expect(await readPorts(folder)).toEqual(USUAL_PORTS);
});
