import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import {
  type Allowance,
  DEFAULT_PLAN,
  KEY_ALLOWANCE_FIELDS,
  type Owner,
} from "../../../../core/owners/plan.ts";
import type { OwnerRecord } from "../../../../core/owners/owner-directory.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import {
  ALLOWANCE,
  ALLOWANCE_CHANGE,
  allowanceBody,
  KEY_ALLOWANCE,
  KEY_ALLOWANCE_CHANGE,
  readAllowance,
} from "./quota-schema.ts";
import { cursorOf, PAGE_ANSWER, PAGE_QUERY, paged, textAfter } from "../../http/page.ts";
import { NAME } from "./plans.ts";
import type { AddVerb } from "../../http/route.ts";

const OWNER = z
  .object({
    owner: z.string(),
    keys_active: z.int(),
    keys: z.int().openapi({ description: "Revoked ones included." }),
    first_key_at: z.string().nullable(),
    plan: z.string(),
    exceptions: ALLOWANCE.openapi({ description: "What counts instead of the plan's." }),
    updated_at: z.string().nullable(),
  })
  .openapi("Owner");
const OWNER_IN_FULL = OWNER.extend({
  allowance: ALLOWANCE.openapi({ description: "What counts: the plan's with the exceptions." }),
  requests_unfinished: z.int().openapi({ description: "Waiting or running." }),
  last_submitted_at: z.string().nullable(),
});

type Named = Omit<Owner, "updatedAtMs"> & { updatedAtMs?: number };

const ownerBody = ({ ownerId, planId, allowance, updatedAtMs }: Named) => ({
  owner: ownerId,
  plan: planId,
  exceptions: allowanceBody(allowance),
  updated_at: updatedAtMs === undefined ? null : new Date(updatedAtMs).toISOString(),
});

const keysBody = ({
  keysActive,
  keys,
  firstKeyAtMs,
}: Pick<OwnerRecord, "keysActive" | "keys" | "firstKeyAtMs">) => ({
  keys_active: keysActive,
  keys,
  first_key_at: firstKeyAtMs === undefined ? null : new Date(firstKeyAtMs).toISOString(),
});

/** Nobody has said anything about most owners. */
const unnamed = (ownerId: string): Named => ({ ownerId, planId: DEFAULT_PLAN, allowance: {} });

/**
 * Owners: whose keys there are, which plan each has, its exceptions, and what it has under way. What single
 * keys have of their own stands beside them.
 */
export function addOwnerVerbs(
  add: AddVerb,
  { plans, keys, owners }: Pick<ApiDependencies, "plans" | "keys" | "owners">,
): void {
  const inFull = async (owner: Named) => {
    const [allowed, found, work] = await Promise.all([
      plans.allowanceOf(owner.ownerId, ""),
      owners.find(owner.ownerId),
      owners.work(owner.ownerId),
    ]);
    return {
      ...ownerBody(owner),
      ...keysBody(found ?? { keysActive: 0, keys: 0 }),
      allowance: allowanceBody(allowed.owner),
      requests_unfinished: work.unfinished,
      last_submitted_at:
        work.lastSubmittedAtMs === undefined ? null : new Date(work.lastSubmittedAtMs).toISOString(),
    };
  };

  add(
    {
      method: "get",
      path: "/v1/tempera/owners",
      says: "Lists the owners of keys and those that were given a plan or exceptions, by name.",
      scope: "ADMIN",
      query: PAGE_QUERY,
      answer: z.object({ owners: z.array(OWNER), ...PAGE_ANSWER }),
    },
    async ({ query }) => {
      const afterOwnerId = textAfter(query);
      // Of the same stretch of names, those that have something of their own; all others have the default
      // plan.
      const [found, planned] = await Promise.all([
        owners.list(afterOwnerId, query.limit + 1),
        plans.owners({ limit: query.limit + 1, ...(afterOwnerId !== undefined && { afterOwnerId }) }),
      ]);
      const named = new Map(planned.map((owner) => [owner.ownerId, owner]));
      const { items, ...page } = paged(found, query.limit, ({ ownerId }) => cursorOf(ownerId));
      return {
        owners: items.map((owner) => ({
          ...ownerBody(named.get(owner.ownerId) ?? unnamed(owner.ownerId)),
          ...keysBody(owner),
        })),
        ...page,
      };
    },
  );

  add(
    {
      method: "get",
      path: "/v1/tempera/owners/{owner}",
      says: "Tells what an owner may use. Every name is an owner's: one that nobody has named has the default plan.",
      scope: "ADMIN",
      params: z.object({ owner: NAME }),
      answer: OWNER_IN_FULL,
    },
    async ({ params }) => inFull((await plans.owner(params.owner)) ?? unnamed(params.owner)),
  );

  add(
    {
      method: "patch",
      path: "/v1/tempera/owners/{owner}",
      says: "Gives an owner a plan, and changes the named exceptions. Gateways go by it within seconds.",
      scope: "ADMIN",
      params: z.object({ owner: NAME }),
      body: z.strictObject({ plan: NAME.optional(), exceptions: ALLOWANCE_CHANGE.optional() }),
      audit: "owners.change",
      answer: OWNER_IN_FULL,
      errors: ["plan_unknown"],
    },
    async ({ params, body, change }) => {
      const before = (await plans.owner(params.owner)) ?? unnamed(params.owner);
      return change({ subject: params.owner, before: ownerBody(before) }, async () => {
        const allowance = readAllowance(body.exceptions ?? {});
        const after = await plans.changeOwner(params.owner, {
          allowance,
          ...(body.plan !== undefined && { planId: body.plan }),
        });
        if (!after) throw new TemperaError("plan_unknown");
        return { after: ownerBody(after), result: await inFull(after) };
      });
    },
  );

  const keyBody = (keyId: string, allowance: Allowance) => ({
    key_id: keyId,
    allowance: allowanceBody(allowance, KEY_ALLOWANCE_FIELDS),
  });
  const KEY_BODY = z.object({ key_id: z.string(), allowance: KEY_ALLOWANCE });
  const KEY_PARAMS = z.object({ key_id: z.string() });
  const known = async (given: string): Promise<string> => {
    const keyId = given.toLowerCase();
    if (!/^[0-9a-f-]{36}$/.test(keyId) || !(await keys.find(keyId))) throw new TemperaError("key_not_found");
    return keyId;
  };

  add(
    {
      method: "get",
      path: "/v1/tempera/keys/{key_id}/allowance",
      says: "Tells what a key has of its own, within what its owner has.",
      scope: "ADMIN",
      params: KEY_PARAMS,
      answer: KEY_BODY,
      errors: ["key_not_found"],
    },
    async ({ params }) => {
      const keyId = await known(params.key_id);
      return keyBody(keyId, await plans.keyAllowance(keyId));
    },
  );

  add(
    {
      method: "patch",
      path: "/v1/tempera/keys/{key_id}/allowance",
      says: "Changes what a key has of its own.",
      scope: "ADMIN",
      params: KEY_PARAMS,
      body: KEY_ALLOWANCE_CHANGE,
      audit: "keys.allow",
      answer: KEY_BODY,
      errors: ["key_not_found"],
    },
    async ({ params, body, change }) => {
      const keyId = await known(params.key_id);
      return change({ subject: keyId, before: keyBody(keyId, await plans.keyAllowance(keyId)) }, async () => {
        const allowance = await plans.changeKey(keyId, readAllowance(body));
        if (!allowance) throw new TemperaError("key_not_found");
        return { after: keyBody(keyId, allowance), result: keyBody(keyId, allowance) };
      });
    },
  );
}
