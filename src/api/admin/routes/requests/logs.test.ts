import { afterEach, expect, it } from "vitest";
import { LIMITS } from "../../../../core/limits.ts";
import { addLogRoutes } from "./logs.ts";

let revoked = false;
/** Each reading of the clock is a second later. */
let nowMs = 1_000_000;
/** The requests that the store has, one answer for each reading; the last one is repeated. */
let active: { requestId: string; ended: boolean }[][] = [[]];
afterEach(() => {
  active = [[]];
});
const caller = (ownerId: string) => ({ ownerId, keyId: `key of ${ownerId}`, scope: "API" });

function streams(body: object[] = [], query = {}): (ownerId: string) => Promise<Response> {
  let stream: ((request: object) => Promise<Response>) | undefined;
  addLogRoutes(
    ((route: { path: string }, handle: never) => {
      if (route.path.endsWith("/stream")) stream = handle;
    }) as never,
    {
      keyRing: { recall: async () => (revoked ? undefined : caller("ann")) },
      requests: {
        active: async () => (active.length > 1 ? active.shift() : active[0]),
        find: async () => ({ logs: [] }),
      },
      events: { read: async () => [] },
      logSearch: {},
      clock: {
        nowMs: () => {
          nowMs += 1_000;
          return nowMs;
        },
      },
    } as never,
  );
  const c = {
    req: { method: "POST", header: () => undefined },
    body: (lines: ReadableStream) => new Response(lines),
  };
  return async (ownerId) => stream?.({ query, body, caller: caller(ownerId), c }) as Promise<Response>;
}

it("limits the log streams of one owner only, and frees one when its reader leaves", async () => {
  const open = streams();
  const mine: Response[] = [];
  for (let n = 0; n < LIMITS.logStreamsOfOwnerMax; n++) mine.push(await open("ann"));
  await expect(open("ann")).rejects.toMatchObject({ code: "concurrent_requests_limit" });
  const theirs = await open("bob");
  await mine[0]?.body?.cancel();
  const again = await open("ann");
  for (const each of [...mine.slice(1), theirs, again]) await each.body?.cancel();
});

it("refuses an unknown level instead of ignoring it", async () => {
  const open = streams([{ key: "level", value: "LOUD" }]);
  await expect(open("ann")).rejects.toMatchObject({
    code: "input_invalid",
    message: expect.stringContaining("WARN"),
  });
});

it("waits for the record of a request, which may come after the answer to its submit", async () => {
  const requestId = "01a229c0-5400-7a08-a3a7-5c2631ec0542";
  const one = { requestId, ended: true };
  active = [[], [], [one]];
  await (await streams([], { request_id: requestId })("ann")).text();
  expect(active).toEqual([[one]]);
});

it("ends when the request that it names stays unknown", async () => {
  const query = { request_id: "01a229c0-5400-7a08-a3a7-5c2631ec0543" };
  await (await streams([], query)("ann")).text();
});

it("ends a log stream whose key was revoked", async () => {
  const reader = (await streams()("ann")).body?.getReader();
  expect((await reader?.read())?.done).toBe(false);
  revoked = true;
  // The timeout of this test is the limit: a stream that goes on never ends.
  for (;;) if ((await reader?.read())?.done) break;
});
