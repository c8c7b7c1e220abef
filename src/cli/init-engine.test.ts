import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadConfig } from "../config/load-config.ts";
import { EDITOR_SCHEMA, initEngine } from "./init-engine.ts";

const PROJECT = resolve(import.meta.dirname, "../..");

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "tempera-init-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const init = (name = "loud-speaker", options: { endpoint?: string } = {}) =>
  initEngine({ name, folder: join(root, name), ...options });

describe("a new engine", () => {
  it("is a class with its model, its test and its image, all under its own name", () => {
    const folder = init("loud-speaker", { endpoint: "studio/loud" });
    const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).sort();
    expect(files.filter((path) => path !== "model" && path !== "model/schemas")).toEqual([
      ".dockerignore",
      "Dockerfile",
      "README.md",
      "engine.py",
      "engines.yaml",
      "model/model.yaml",
      "model/schemas/input.json",
      "model/schemas/output.json",
      "requirements.txt",
      "test_engine.py",
    ]);
    const texts = files
      .filter((path) => path.includes("."))
      .map((path) => readFileSync(join(folder, path), "utf8"));
    expect(texts.join("\n")).not.toMatch(/my-engine|MyEngine|\{\{|acme/);
    expect(readFileSync(join(folder, "engine.py"), "utf8")).toContain("class LoudSpeaker(Predictor):");
    expect(readFileSync(join(folder, "model/model.yaml"), "utf8")).toContain("endpoint: studio/loud\n");
  });

  it("names the schema of its manifest to editors", () => {
    const folder = join(init(), "model");
    const [, path = ""] = /^# yaml-language-server: \$schema=(.*)$/m.exec(
      readFileSync(join(folder, "model.yaml"), "utf8"),
    ) ?? [""];
    expect(resolve(folder, path)).toBe(EDITOR_SCHEMA);
  });

  it("has lines of configuration that name it", () => {
    const folder = init();
    const { programs } = loadConfig({ TEMPERA_CONFIG: join(folder, "engines.yaml") }).engines;
    expect(programs).toEqual({
      "loud-speaker": {
        command: join(folder, ".venv/bin/python"),
        args: [join(folder, "engine.py")],
        environment: [],
        readable: [folder],
        devices: [],
        runners: ["loud-speaker"],
      },
    });
  });

  it("has an image that is made of what this project has", () => {
    const image = readFileSync(join(init(), "Dockerfile"), "utf8");
    const copied = [...image.matchAll(/^COPY --from=tempera (.+) \S+$/gm)].flatMap(([, paths = ""]) =>
      paths.split(" "),
    );
    expect(copied.length).toBeGreaterThan(5);
    expect(copied.filter((path) => !existsSync(join(PROJECT, path)))).toEqual([]);
  });
});

describe("is refused with the remedy:", () => {
  it.each([
    ["My engine", {}, '"My engine" is no name for an engine; use a-z, 0-9 and -, such as my-engine.'],
    ["onnx", {}, "onnx is the name of a built-in engine; choose another one."],
    ["shout", { endpoint: "shout" }, '"shout" is no endpoint; give it as owner/alias, such as acme/shout.'],
  ])("%s %j", (name, options, message) => expect(() => init(name, options)).toThrow(message));

  it("a folder that has files, or is none", () => {
    const folder = init();
    expect(() => init()).toThrow(`${folder} is not empty; name another folder with --folder, or empty it.`);
    writeFileSync(join(root, "file"), "");
    expect(() => init("file")).toThrow("is no folder; name another one with --folder.");
  });
});
