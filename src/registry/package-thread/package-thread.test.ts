import { afterEach, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { ECHO_MANIFEST } from "../packages/echo-manifest.fixture.ts";
import { PackageThread } from "./package-thread.ts";

const schemasFolder = new URL("../../../schemas", import.meta.url).pathname;
const SCHEMA = JSON.stringify({ type: "object", properties: { prompt: { type: "string" } } });
const manifest = (fields: object = {}): string => stringify({ ...ECHO_MANIFEST, ...fields });
const contentOf = (model: string) => ({
  texts: { "model.yaml": model, "schemas/input.json": SCHEMA, "schemas/output.json": SCHEMA },
  files: {},
});
/** The parser is quadratic in these. */
const SLOW = `${manifest()}x:\n${"- []\n".repeat(9_000)}`;

const warnings: string[] = [];
let thread: PackageThread | undefined;
const open = (deadlineMs?: number): PackageThread => {
  const log = { warn: (_: object, message: string) => void warnings.push(message) };
  thread = new PackageThread({ schemasFolder, log, ...(deadlineMs !== undefined && { deadlineMs }) });
  return thread;
};
afterEach(() => thread?.[Symbol.asyncDispose]());

describe("a package", () => {
  it("is read with its large numbers, and reviewed where that is asked for", async () => {
    const content = contentOf(manifest({ engine: "stubb", parameters: { n: 18_446_744_073_709_551_615n } }));
    expect(await open().check(content)).toMatchObject({
      endpoint: "acme/echo",
      parameters: { n: 18_446_744_073_709_551_615n },
      digest: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    expect(await thread?.check(content, { stub: ["stub"] })).toEqual({
      faults: [expect.stringContaining('did you mean "stub"?')],
    });
  });

  it("leaves the event loop to others while its YAML is parsed", async () => {
    await open().check(contentOf(manifest()));
    const checked = thread?.check(contentOf(SLOW));
    let turns = 0;
    let done = false;
    void checked?.finally(() => {
      done = true;
    });
    while (!done) {
      turns += 1;
      await new Promise((next) => setImmediate(next));
    }
    expect(await checked).toEqual({ faults: [expect.stringContaining("(x)")] });
    // In the process itself the loop would have turned a few times.
    expect(turns).toBeGreaterThan(100);
  });

  it("is refused when it takes longer than the deadline, and the next one is checked", async () => {
    const late = open(1).check(contentOf(SLOW));
    expect(await late).toEqual({
      faults: [
        "model.yaml and its schemas take more than 1 ms or too much memory to check; make them smaller",
      ],
    });
  });

  it("waits for the one before it, whose end it survives", async () => {
    const slow = open().check(contentOf(SLOW));
    const good = thread?.check(contentOf(manifest()));
    expect(await slow).toHaveProperty("faults");
    expect(await good).toHaveProperty("endpoint", "acme/echo");
  });

  it("with a field that has another name today is read, with a warning", async () => {
    const restrictions = [{ field: "prompt", accepts: { const: "x" }, message: "Only x." }];
    const former = manifest({ restrictions }).replace("message:", "says:");
    const read = await open().check(contentOf(former));
    expect(read).toMatchObject({ restrictions: [{ message: "Only x." }] });
    expect(warnings).toEqual([expect.stringContaining("restrictions")]);
  });
});
