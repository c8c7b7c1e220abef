import { expect, it } from "vitest";
import type { RetentionTimes } from "../../core/operations/retention.ts";
import type { DeadLetterStore } from "../../core/requests/dead-letter-store.ts";
import type { EndedQuery, RequestSearch } from "../../core/requests/request-search.ts";
import type { Page } from "../../core/webhooks/delivery-store.ts";
import { deadLetterRetentionView, searchRetentionView } from "./retention-view-lists.ts";

const NOW_MS = 1_000_000;
const FOREVER: RetentionTimes = {
  requestMs: null,
  payloadMs: null,
  logMs: null,
  artifactMs: null,
  uploadMs: null,
};
const times = {
  of: (ownerId: string): RetentionTimes =>
    ownerId === "short" ? { ...FOREVER, requestMs: 5_000, payloadMs: 1_000 } : FOREVER,
};
const clock = { nowMs: () => NOW_MS };

/** One request a second, newest first; the owner of every second one keeps requests for five seconds. */
const all = Array.from({ length: 40 }, (_, i) => ({
  requestId: `r${i}`,
  ownerId: i % 2 === 0 ? "short" : "long",
  endedAtMs: NOW_MS - i * 1_000,
  createdAtMs: NOW_MS - i * 1_000,
  seconds: 0,
}));
const idsOf = (found: { requestId: string }[]): string[] => found.map(({ requestId }) => requestId);

it("skips expired requests in a list, and keeps the pages full", async () => {
  const search = searchRetentionView(
    {
      ended: async ({ after, limit }: EndedQuery) =>
        all.filter(({ endedAtMs }) => !after || endedAtMs < after.value).slice(0, limit),
      find: async (id: string) => all.find(({ requestId }) => requestId === id),
      payloads: async (ids: string[]) =>
        new Map(
          all
            .filter(({ requestId }) => ids.includes(requestId))
            .map(({ requestId, ownerId, endedAtMs }) => [
              requestId,
              {
                job: { ownerId, input: { inline: "in" } },
                outcome: { ok: true, output: { inline: "out" }, metrics: {} },
                endedAtMs,
              },
            ]),
        ),
    } as unknown as RequestSearch,
    { times, clock },
  );
  const query = { endpoints: ["a/b"], startMs: 0, endMs: NOW_MS, sortBy: "ended_at" as const, limit: 6 };
  expect(idsOf(await search.ended(query))).toEqual(["r0", "r1", "r2", "r3", "r4", "r5"]);
  const after = { value: NOW_MS - 5_000, requestId: "r5" };
  expect(idsOf(await search.ended({ ...query, after }))).toEqual(["r7", "r9", "r11", "r13", "r15", "r17"]);
  expect(await search.find("r6")).toBeUndefined();
  expect(await search.find("r7")).toBeDefined();
  const payloads = await search.payloads(["r0", "r2", "r3"]);
  expect(payloads.get("r2")).toMatchObject({
    job: { input: { ref: "gone" } },
    outcome: { output: { ref: "gone" } },
  });
  for (const id of ["r0", "r3"])
    expect(payloads.get(id)).toMatchObject({
      job: { input: { inline: "in" } },
      outcome: { output: { inline: "out" } },
    });
});

it("hides a dead letter with its record, and its input when that has expired", async () => {
  const letters = deadLetterRetentionView(
    {
      list: async ({ before, limit }: Page) =>
        all.filter(({ createdAtMs }) => !before || createdAtMs < before.atMs).slice(0, limit),
      find: async (id: string) => {
        const found = all.find(({ requestId }) => requestId === id);
        return found && { ...found, job: { input: { inline: "in" } } };
      },
    } as unknown as DeadLetterStore,
    { times, clock },
  );
  expect(idsOf(await letters.list({ limit: 4, before: { atMs: NOW_MS - 3_500, requestId: "r3" } }))).toEqual([
    "r4",
    "r5",
    "r7",
    "r9",
  ]);
  expect(await letters.find("r6")).toBeUndefined();
  expect((await letters.find("r2"))?.job.input).toEqual({ ref: "gone" });
  expect((await letters.find("r0"))?.job.input).toEqual({ inline: "in" });
});
