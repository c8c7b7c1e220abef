import { expect, it } from "vitest";
import { LIMITS } from "../../core/limits.ts";
import type { PipelineQuery } from "../../core/pipelines/pipeline-store.ts";
import type { Caller } from "../auth/key-ring.ts";
import { createSavedPipelineService } from "./saved-pipeline-service.ts";

const NAMES = ["blog", "news", "secret", "blog-2", "blog-3"];

/** The service, with a store that has these pipelines of ann, and the queries that the store got. */
function scene() {
  const queries: PipelineQuery[] = [];
  const list = async (query: PipelineQuery) => {
    queries.push(query);
    const items = NAMES.map((name) => ({ ownerId: query.ownerId, name }));
    return { items: items.slice(query.offset, query.offset + query.limit), total: items.length };
  };
  const service = createSavedPipelineService({ pipelines: { list } } as never);
  const page = async (endpoints: string[] | undefined, limit: number, offset = 0, search?: string) => {
    const caller = { ownerId: "ann", ...(endpoints && { permissions: { endpoints } }) } as unknown as Caller;
    const query = { limit, offset, ...(search !== undefined && { search }) };
    const { items, total } = await service.list(caller, query);
    return [items.map(({ name }) => name), total];
  };
  return { queries, page };
}

it("lists to a narrowed key what it may call, with totals and pages of that", async () => {
  const { page } = scene();
  const narrowed = ["workflows/ann/blog*", "fal-ai/wan"];
  expect(await page(narrowed, 2)).toEqual([["blog", "blog-2"], 3]);
  expect(await page(narrowed, 2, 2)).toEqual([["blog-3"], 3]);
  expect(await page(narrowed, 2, 4)).toEqual([[], 3]);
  expect(await page(["fal-ai/wan"], 50)).toEqual([[], 0]);
});

it("lists everything of its owner to any other key, a page at a time", async () => {
  const { page, queries } = scene();
  expect(await page(undefined, 2, 1)).toEqual([["news", "secret"], 5]);
  expect(queries).toEqual([{ ownerId: "ann", limit: 2, offset: 1 }]);
});

it("searches for a narrowed key as for others", async () => {
  const { page, queries } = scene();
  await page(["*"], 2, 0, "blog");
  expect(queries).toEqual([{ ownerId: "ann", limit: LIMITS.pipelinesOfOwnerMax, offset: 0, search: "blog" }]);
});
