import { expect, it } from "vitest";
import { LIMITS } from "../../../../core/limits.ts";
import { addLogVerbs } from "./logs.ts";

let revoked = false;
const caller = (ownerId: string) => ({ ownerId, keyId: `key of ${ownerId}`, scope: "API" });

function streams(body: object[] = []): (ownerId: string) => Promise<Response> {
  let stream: ((asked: object) => Promise<Response>) | undefined;
  addLogVerbs(
    ((verb: { path: string }, handle: never) => {
      if (verb.path.endsWith("/stream")) stream = handle;
    }) as never,
    {
      keyRing: { recall: async () => (revoked ? undefined : caller("ann")) },
      requests: { active: async () => [] },
      events: {},
      logSearch: {},
      clock: { nowMs: () => 1_000_000 },
    } as never,
  );
  const c = { body: (lines: ReadableStream) => new Response(lines) };
  return async (ownerId) => stream?.({ query: {}, body, caller: caller(ownerId), c }) as Promise<Response>;
}

it("leaves room for others' log streams, and gives a place back when its reader leaves", async () => {
  const open = streams();
  const mine: Response[] = [];
  for (let n = 0; n < LIMITS.logStreamsOfOwnerMax; n++) mine.push(await open("ann"));
  await expect(open("ann")).rejects.toMatchObject({ code: "concurrent_requests_limit" });
  const theirs = await open("bob");
  await mine[0]?.body?.cancel();
  const again = await open("ann");
  for (const each of [...mine.slice(1), theirs, again]) await each.body?.cancel();
});

it("refuses a level that there is not, and looks for no other one instead", async () => {
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
  // The test's own time is the limit: one that goes on never ends.
  for (;;) if ((await reader?.read())?.done) break;
}, 5_000);
