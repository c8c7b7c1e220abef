import { describe, expect, it } from "vitest";
import { readyText } from "./all-in-one.ts";
import type { Platform } from "./platform.ts";

const KEY = "2f1c0a52-0000-4000-8000-000000000000:0f0f0f";
const FILE = "/home/o'neil/my data/key";

const platform = (more: Partial<Platform> = {}): Platform => ({
  url: "http://localhost:8080",
  adminUrl: "http://localhost:8081",
  tls: { url: "https://localhost:8443", caFile: "/data/tls/ca.pem" },
  temporalUi: { url: "http://localhost:8233", passwordFile: "/data/temporal/password" },
  key: KEY,
  keptKey: { key: KEY, file: FILE, isNew: true },
  endpoints: ["tempera/stub"],
  pipelines: [],
  stop: async () => {},
  ended: new Promise(() => {}),
  ...more,
});
const occurrences = (text: string): number => text.split(KEY).length - 1;

describe("the key, in what npm start prints", () => {
  it("is shown once, at a terminal, by the start that made it", () => {
    const text = readyText(platform(), { isTerminal: true });
    expect(occurrences(text)).toBe(1);
    expect(text).toContain(`kept in ${FILE}`);
  });

  it.each([
    ["in a pipe or a log", platform(), false],
    ["at a later start", platform({ keptKey: { key: KEY, file: FILE, isNew: false } }), true],
    ["when it was configured", platform({ keptKey: undefined }), true],
  ])("is not shown %s", (_, given, isTerminal) => {
    const text = readyText(given, { isTerminal });
    expect(occurrences(text)).toBe(0);
    expect(text).toContain(
      given.keptKey ? `Key          kept in ${FILE}` : "Key          that of TEMPERA_ADMIN_KEY",
    );
  });

  it("is read from its file by the lines to paste", () => {
    const text = readyText(platform(), { isTerminal: false });
    const words = `$(cat '/home/o'\\''neil/my data/key')`;
    expect(text.split("\n").filter((line) => line.includes(words))).toEqual([
      expect.stringContaining(`curl -s http://localhost:8080/queue/`),
      `  export FAL_KEY="${words}"`,
      expect.stringContaining(`curl -s --cacert`),
    ]);
  });
});
