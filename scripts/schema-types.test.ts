import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { schemaTypes, TYPES_FILE } from "./schema-types.ts";

const PROJECT = resolve(import.meta.dirname, "..");

describe("the types of callable endpoints", () => {
  it("match the schemas (`npm run schemas:types` writes them)", async () => {
    expect(await readFile(TYPES_FILE, "utf8")).toBe(await schemaTypes(join(PROJECT, "schemas")));
  });

  it("are of the newest version, and a pipeline's checked input has its defaults and seed", async () => {
    const folder = await mkdtemp(join(tmpdir(), "tempera-schemas-"));
    try {
      const write = async (subfolder: string, properties: object) => {
        const path = join(folder, subfolder);
        await mkdir(path, { recursive: true });
        for (const name of ["input", "output"]) {
          await writeFile(
            join(path, `${name}.json`),
            JSON.stringify({ title: "Same", type: "object", properties }),
          );
        }
      };
      await write("models/a/b/2.0.0", { old: { type: "string" } });
      await write("models/a/b/10.0.0", { young: { title: "Young", type: "string" } });
      await write("pipelines/a/p/1.0.0", {
        frames: { type: "integer", default: 17 },
        seed: { type: ["integer", "null"] },
      });
      const text = await schemaTypes(folder);
      expect(text).toContain('"a/b": { input: ABInput; output: ABOutput };');
      expect(text).toContain('"a/p": { input: APInput; output: APOutput; checked: APChecked };');
      expect(text).toContain("type ABInput = {\n  young?: string;\n}");
      expect(text).not.toContain("old");
      expect(text).toContain("type APInput = {\n  frames?: number;\n  seed?: number | null;\n}");
      expect(text).toContain("type APChecked = {\n  frames: number;\n  seed: number;\n}");
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
