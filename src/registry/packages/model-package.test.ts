import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "../../core/json/json.ts";
import { loadRegistry, type Registry } from "../registry.ts";

const MANIFEST = new URL("../../../schemas/manifest.json", import.meta.url);
const PAGE = readFileSync(new URL("../../../docs/adding-a-model.md", import.meta.url), "utf8");

/**
 * Lists the fields of the manifest, those of mappings like `retry` one by one, as `[name, required, default,
 * description]`.
 */
function manifestFields(schema: JsonObject, prefix = ""): [string, string, string, string | undefined][] {
  return Object.entries(schema.properties as Record<string, JsonObject>).flatMap(([name, field]) => {
    if (field.properties) return manifestFields(field, `${name}.`);
    const required = ((schema.required ?? []) as string[]).includes(name) ? "yes" : "";
    const fallback = field.default === undefined ? "" : `\`${JSON.stringify(field.default)}\``;
    return [[`\`${prefix}${name}\``, required, fallback, field.description as string | undefined]];
  });
}

/** The registry of the packages that the page writes: each code block that follows a path. */
async function loadWalk(): Promise<Registry> {
  const root = mkdtempSync(join(tmpdir(), "tempera-walk-"));
  try {
    for (const [, path = "", text = ""] of PAGE.matchAll(
      /\n`((?:models|schemas)\/\S+)`\n\n```(?:yaml|json)\n(.*?)```/gs,
    )) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    copyFileSync(MANIFEST, join(root, "schemas/manifest.json"));
    return await loadRegistry({ modelsFolder: join(root, "models"), schemasFolder: join(root, "schemas") });
  } finally {
    rmSync(root, { recursive: true });
  }
}

describe("docs/adding-a-model.md", () => {
  it("has the fields of the manifest's schema, in its order", () => {
    const rows = (PAGE.split("## The manifest\n")[1]?.split("\n## ")[0] ?? "")
      .split("\n")
      .filter((line) => line.startsWith("| `"))
      .map((line) =>
        line
          .split("|")
          .slice(1, -1)
          .map((cell) => cell.trim()),
      );
    const fields = manifestFields(JSON.parse(readFileSync(MANIFEST, "utf8")) as JsonObject);
    expect(rows.map(([name, required, fallback]) => [name, required, fallback])).toEqual(
      fields.map(([name, required, fallback]) => [name, required, fallback]),
    );
    for (const [row, [name, , , description]] of rows.map(
      (row, index) => [row, fields[index] ?? ["", "", "", ""]] as const,
    ))
      expect(row[3], name).toBe(description ?? row[3]);
    for (const [name, , , meaning] of rows) expect(meaning?.length, name).toBeGreaterThan(10);
  });

  it("leads to a model that can be called, with the refusals that the page promises", async () => {
    const registry = await loadWalk();
    expect(registry.list().map(({ endpoint, version }) => `${endpoint} ${version}`)).toEqual([
      "acme/echo 1.0.0",
    ]);
    const check = registry.route("acme/echo")?.checkInput;
    expect(check?.({ prompt: "hello" })).toMatchObject({
      input: { prompt: "hello", volume: 3, seed: expect.any(Number) },
    });
    expect(check?.({ prompt: "hello", volume: 20 })).toMatchObject({
      faults: [{ loc: ["body", "volume"], type: "less_than_equal" }],
    });
    expect(check?.({ prompt: "hello", volume: 7 })).toMatchObject({
      faults: [
        {
          loc: ["body", "volume"],
          type: "feature_not_supported",
          msg: "This version echoes at volume 5 at most.",
        },
      ],
    });
  });
});
