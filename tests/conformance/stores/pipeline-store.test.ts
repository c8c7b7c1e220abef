import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectPostgres, type Sql } from "../../../src/adapters/postgres/connection.ts";
import { createPipelineStore } from "../../../src/adapters/postgres/pipelines/pipeline-store.ts";
import type { PipelineContents, PipelineStore } from "../../../src/core/pipelines/pipeline-store.ts";
import type { PipelineMetadata, PipelineName } from "../../../src/core/pipelines/saved-pipeline.ts";
import { leakCheck } from "../../setup/leak-check.ts";
import { testDatabase } from "../../setup/test-database.ts";

leakCheck();

let database: Awaited<ReturnType<typeof testDatabase>>;
let sql: Sql;
let pipelines: PipelineStore;
beforeAll(async () => {
  database = await testDatabase();
  sql = connectPostgres(database.url, { maxConnections: 5 });
  pipelines = createPipelineStore(sql);
});
afterAll(async () => {
  await sql.end({ timeout: 2 });
  await database[Symbol.asyncDispose]();
});

const AT = 1_790_000_000_123;
const does = (note: string, calls = ["tempera/stub"]): PipelineContents => ({
  contents: { nodes: { a: { type: "run" } }, note },
  compiled: {
    graph: { nodes: [], output: { note } },
    schemas: { input: { type: "object" }, output: {} },
    calls,
  },
});
let made = 0;
const pipeline = (over: Partial<PipelineName & PipelineMetadata & PipelineContents> = {}) => ({
  ownerId: "ann",
  name: `p${made++}`,
  title: "A pipeline",
  isPublic: false,
  tags: [],
  ...does("first"),
  ...over,
});
const create = (one: ReturnType<typeof pipeline>, atMs = AT) => pipelines.create(one, atMs, 1000);

describe("pipeline store", () => {
  it("creates, finds, updates into a new version, removes", async () => {
    const one = pipeline({ description: "what for", thumbnailUrl: "https://x/y.png", tags: ["a", "b"] });
    const saved = { ...one, version: 1, calls: ["tempera/stub"], createdAtMs: AT, updatedAtMs: AT };
    expect(await create(one)).toEqual(saved);
    expect(await pipelines.find(one)).toEqual(saved);

    const renamed = await pipelines.update(one, { metadata: { title: "Another", isPublic: true } }, AT + 1);
    expect(renamed).toEqual({ ...saved, title: "Another", isPublic: true, updatedAtMs: AT + 1 });
    const second = await pipelines.update(
      one,
      { metadata: { tags: [] }, contents: does("second", ["a/b", "c/d"]) },
      AT + 2,
    );
    expect(second).toMatchObject({
      title: "Another",
      version: 2,
      tags: [],
      calls: ["a/b", "c/d"],
      contents: { note: "second" },
    });
    expect(await pipelines.find(one, 1)).toMatchObject({
      version: 1,
      contents: { note: "first" },
      calls: ["tempera/stub"],
    });
    expect(await pipelines.find(one, 3)).toBeUndefined();

    expect(await pipelines.remove(one, AT + 3)).toBe(true);
    expect(await pipelines.remove(one, AT + 4)).toBe(false);
    expect(await pipelines.find(one)).toBeUndefined();
    expect(await pipelines.update(one, { metadata: { title: "x" } }, AT + 5)).toBeUndefined();
  });

  it("keeps fields that a change leaves out, and empties fields that it sets to undefined", async () => {
    const one = pipeline({ description: "what for", thumbnailUrl: "https://x/y.png", tags: ["a"] });
    await create(one);
    await pipelines.update(
      one,
      { metadata: { description: undefined } as unknown as Partial<PipelineMetadata> },
      AT,
    );
    expect(await pipelines.find(one)).toMatchObject({ thumbnailUrl: "https://x/y.png", tags: ["a"] });
    expect(await pipelines.find(one)).not.toHaveProperty("description");
  });

  it("gives a name to one of many, and frees a removed name with its version count", async () => {
    const one = pipeline();
    const won = await Promise.all(Array.from({ length: 8 }, (_, n) => create({ ...one, ...does(`${n}`) })));
    expect(won.filter((each) => each === "taken")).toHaveLength(7);
    await pipelines.remove(one, AT);
    expect(await create({ ...one, title: "Again", ...does("again") })).toMatchObject({
      version: 2,
      title: "Again",
    });
    expect(await pipelines.find(one)).toMatchObject({ version: 2, contents: { note: "again" } });
  });

  it("limits the pipelines of an owner, without counting removed ones", async () => {
    const mine = [0, 1, 2].map(() => pipeline({ ownerId: "full" }));
    const bounded = (one: ReturnType<typeof pipeline>) => pipelines.create(one, AT, 2);
    expect(await bounded(mine[0] as never)).toMatchObject({ version: 1 });
    expect(await bounded(mine[1] as never)).toMatchObject({ version: 1 });
    expect(await bounded(mine[2] as never)).toBe("full");
    await pipelines.remove(mine[0] as never, AT);
    expect(await bounded(mine[2] as never)).toMatchObject({ version: 1 });
  });

  it("lists an owner's pipelines newest first, by page, text and called endpoint", async () => {
    const name = (n: string) => ({ ownerId: "lister", name: n });
    await create(pipeline({ ...name("first"), title: "Röntgen 100%", ...does("", ["a/b"]) }), AT);
    await create(pipeline({ ...name("second"), description: "a FILM", ...does("", ["a/b", "c/d"]) }), AT + 1);
    await create(pipeline({ ...name("third") }), AT + 2);
    await create(pipeline({ ...name("gone") }), AT + 3);
    await pipelines.remove(name("gone"), AT);
    const list = async (query: object) => {
      const { items, total } = await pipelines.list({ ownerId: "lister", limit: 10, offset: 0, ...query });
      return [items.map((each) => each.name).join(), total];
    };
    expect(await list({})).toEqual(["third,second,first", 3]);
    expect(await list({ limit: 1, offset: 1 })).toEqual(["second", 3]);
    expect(await list({ offset: 9 })).toEqual(["", 3]);
    expect(await list({ search: "film" })).toEqual(["second", 1]);
    expect(await list({ search: "RöNTGEN 100%" })).toEqual(["first", 1]);
    expect(await list({ search: "%" })).toEqual(["first", 1]);
    expect(await list({ calls: ["c/d", "x/y"] })).toEqual(["second", 1]);
    expect(await list({ calls: ["a/b"], search: "first" })).toEqual(["first", 1]);
    expect(await list({ ownerId: "nobody" })).toEqual(["", 0]);
  });

  it("accepts any text, and returns JSON byte for byte", async () => {
    const odd = "é😀\u0000\u202e'; DROP TABLE pipelines; --";
    const contents = { z: "\u0000é😀", a: "\ud800", list: [1e21, -0.1, null] };
    const one = pipeline({
      ownerId: "ödd",
      name: "画像 /x",
      title: odd,
      description: odd,
      tags: [odd, ""],
      ...does("x"),
      contents,
    });
    await create(one);
    const found = await pipelines.find(one);
    expect(JSON.stringify(found?.contents)).toBe(JSON.stringify(contents));
    expect(found?.tags).toEqual([odd.replace("\u0000", "\ufffd"), ""]);
    expect(found?.title).toBe(odd.replace("\u0000", "\ufffd"));
    expect(await pipelines.find({ ownerId: odd, name: "\u0000" })).toBeUndefined();
  });

  it("announces which pipeline was created, updated or removed", async () => {
    const changed: PipelineName[] = [];
    let onChanged = (): void => {};
    const stop = await pipelines.onChange((name) => {
      changed.push(name);
      onChanged();
    });
    const until = (count: number) =>
      new Promise<void>((resolve) => {
        onChanged = () => void (changed.length >= count && resolve());
        onChanged();
      });
    const one = pipeline({ ownerId: "announcer" });
    await create(one);
    await until(1);
    await pipelines.update(one, { contents: does("x") }, AT);
    await until(2);
    await pipelines.remove(one, AT);
    await until(3);
    expect(changed).toEqual(Array(3).fill({ ownerId: "announcer", name: one.name }));
    await stop();
  });
});
