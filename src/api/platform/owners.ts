import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { OwnerRecord } from "../../core/ports/owner-directory.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { cursorOf, PAGE_ANSWER, PAGE_QUERY, paged, readCursor } from "./page.ts";
import type { AddVerb } from "./verb.ts";

const OWNER = z
  .object({
    owner: z.string(),
    keys_active: z.int(),
    keys: z.int().openapi({ description: "Revoked ones included." }),
    first_key_at: z.string(),
    last_key_at: z.string(),
  })
  .openapi("Owner");

const ownerBody = (owner: OwnerRecord): z.input<typeof OWNER> => ({
  owner: owner.ownerId,
  keys_active: owner.keysActive,
  keys: owner.keys,
  first_key_at: new Date(owner.firstKeyAtMs).toISOString(),
  last_key_at: new Date(owner.lastKeyAtMs).toISOString(),
});

/** Whose keys there are, and what they have under way. */
export function addOwnerVerbs(add: AddVerb, { owners }: Pick<ApiDependencies, "owners">): void {
  add(
    {
      method: "get",
      path: "/v1/tempera/owners",
      says: "Lists the owners of keys, by name.",
      scope: "ADMIN",
      query: PAGE_QUERY,
      answer: z.object({ owners: z.array(OWNER), ...PAGE_ANSWER }),
    },
    async ({ query: { limit, cursor } }) => {
      const after = cursor === undefined ? undefined : readCursor(cursor, z.tuple([z.string()]))[0];
      const { items, ...page } = paged(await owners.list(after, limit + 1), limit, ({ ownerId }) => cursorOf(ownerId));
      return { owners: items.map(ownerBody), ...page };
    },
  );

  add(
    {
      method: "get",
      path: "/v1/tempera/owners/{owner}",
      says: "Shows one owner and what it has under way.",
      scope: "ADMIN",
      params: z.object({ owner: z.string() }),
      answer: OWNER.extend({
        requests_unfinished: z.int().openapi({ description: "Waiting or running." }),
        last_submitted_at: z.string().nullable(),
      }),
      errors: ["owner_unknown"],
    },
    async ({ params }) => {
      const found = await owners.find(params.owner);
      if (!found) throw new TemperaError("owner_unknown");
      const { unfinished, lastSubmittedAtMs } = await owners.work(found.ownerId);
      return {
        ...ownerBody(found),
        requests_unfinished: unfinished,
        last_submitted_at: lastSubmittedAtMs === undefined ? null : new Date(lastSubmittedAtMs).toISOString(),
      };
    },
  );
}
