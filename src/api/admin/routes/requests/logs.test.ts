import { expect, it } from "vitest";
import { LIMITS } from "../../../../core/limits.ts";
import { addLogRoutes } from "./logs.ts";

let revoked = false;
const caller = (ownerId: string) => ({ ownerId, keyId: `key of ${ownerId}`, scope: "API" });

function streams(body: object[] = []): (ownerId: string) => Promise<Response> {
  let stream: ((request: object) => Promise<Response>) | undefined;
  addLogRoutes(
    ((route: { path: string }, handle: never) => {
      if (route.path.endsWith("/stream")) stream = handle;
    }) as never,
    {
      keyRing: { recall: async () => (revoked ? undefined : caller("ann")) },
      requests: { active: async () => [] },
      events: {},
      logSearch: {},
      clock: { nowMs: () => 1_000_000 },
    } as never,
  );
  const c = {
    req: { method: "POST", header: () => undefined },
    body: (lines: ReadableStream) => new Response(lines),
  };
  return async (ownerId) => stream?.({ query: {}, body, caller: caller(ownerId), c }) as Promise<Response>;
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

it("ends a log stream whose key was revoked", async () => {
  const reader = (await streams()("ann")).body?.getReader();
  expect((await reader?.read())?.done).toBe(false);
  revoked = true;
  // The timeout of this test is the limit: a stream that goes on never ends.
  for (;;) if ((await reader?.read())?.done) break;
});
