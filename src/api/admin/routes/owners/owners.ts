/**
 * The admin API of owners and what belongs to them: keys, plans and their limits, and usage. An owner is a
 * name that keys have; there is no list of owners to maintain.
 */
import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import type { OwnerRecord } from "../../../../core/owners/owner-directory.ts";
import { DEFAULT_PLAN, KEY_LIMIT_FIELDS, type Owner, type PlanLimits } from "../../../../core/owners/plan.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { cursorOf, PAGE_FIELDS, PAGE_QUERY, paged, textAfter } from "../../http/page.ts";
import type { AddRoute } from "../../http/route.ts";
import {
  KEY_LIMITS,
  KEY_LIMITS_CHANGE,
  limitsBody,
  PLAN_LIMITS,
  PLAN_LIMITS_CHANGE,
  readLimits,
} from "./limits-schema.ts";
import { NAME } from "./plans.ts";

const OWNER = z
  .object({
    owner: z.string(),
    keys_active: z.int(),
    keys: z.int().openapi({ description: "Includes revoked keys." }),
    first_key_at: z.string().nullable(),
    plan: z.string(),
    exceptions: PLAN_LIMITS.openapi({ description: "Limits that replace those of the plan." }),
    updated_at: z.string().nullable(),
  })
  .openapi("Owner");
const OWNER_DETAIL = OWNER.extend({
  limits: PLAN_LIMITS.openapi({ description: "The limits in force: the plan's with the exceptions." }),
  requests_unfinished: z.int().openapi({ description: "Requests that wait or run." }),
  last_submitted_at: z.string().nullable(),
});

type OwnerSettings = Omit<Owner, "updatedAtMs"> & { updatedAtMs?: number };

const ownerBody = ({ ownerId, planId, limits, updatedAtMs }: OwnerSettings) => ({
  owner: ownerId,
  plan: planId,
  exceptions: limitsBody(limits),
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

/** Returns the settings of an owner without any of its own, as most owners are. */
const defaultSettings = (ownerId: string): OwnerSettings => ({
  ownerId,
  planId: DEFAULT_PLAN,
  limits: {},
});

type Dependencies = Pick<ApiDependencies, "plans" | "keys" | "owners">;

/**
 * Adds the routes of owners: their plans and exceptions, their work under way, and the limits of single keys.
 */
export function addOwnerRoutes(addRoute: AddRoute, api: Dependencies): void {
  addListRoute(addRoute, api);
  addDetailRoutes(addRoute, api);
  addKeyLimitRoutes(addRoute, api);
}

function addListRoute(addRoute: AddRoute, { plans, owners }: Dependencies): void {
  addRoute(
    {
      method: "get",
      path: "/v1/tempera/owners",
      summary: "Lists by name the owners that have keys, a plan or exceptions.",
      scope: "ADMIN",
      query: PAGE_QUERY,
      response: z.object({ owners: z.array(OWNER), ...PAGE_FIELDS }),
    },
    async ({ query }) => {
      const afterOwnerId = textAfter(query);
      // Both lists cover the same range of names. Owners that are absent from the second have the default
      // plan.
      const [found, withSettings] = await Promise.all([
        owners.list(afterOwnerId, query.limit + 1),
        plans.owners({ limit: query.limit + 1, ...(afterOwnerId !== undefined && { afterOwnerId }) }),
      ]);
      const settings = new Map(withSettings.map((owner) => [owner.ownerId, owner]));
      const { items, ...page } = paged(found, query.limit, ({ ownerId }) => cursorOf(ownerId));
      return {
        owners: items.map((owner) => ({
          ...ownerBody(settings.get(owner.ownerId) ?? defaultSettings(owner.ownerId)),
          ...keysBody(owner),
        })),
        ...page,
      };
    },
  );
}

function addDetailRoutes(addRoute: AddRoute, api: Dependencies): void {
  const { plans } = api;
  addRoute(
    {
      method: "get",
      path: "/v1/tempera/owners/{owner}",
      summary: "Shows the limits of an owner. An owner that nobody has configured has the default plan.",
      scope: "ADMIN",
      params: z.object({ owner: NAME }),
      response: OWNER_DETAIL,
    },
    async ({ params }) => detail(api, (await plans.owner(params.owner)) ?? defaultSettings(params.owner)),
  );

  addRoute(
    {
      method: "patch",
      path: "/v1/tempera/owners/{owner}",
      summary:
        "Gives an owner a plan, and changes the named exceptions. Gateways apply the change within seconds.",
      scope: "ADMIN",
      params: z.object({ owner: NAME }),
      body: z.strictObject({ plan: NAME.optional(), exceptions: PLAN_LIMITS_CHANGE.optional() }),
      audit: "owners.change",
      response: OWNER_DETAIL,
      errors: ["plan_unknown"],
    },
    async ({ params, body, change }) => {
      const before = (await plans.owner(params.owner)) ?? defaultSettings(params.owner);
      return change({ subject: params.owner, before: ownerBody(before) }, async () => {
        const after = await plans.changeOwner(params.owner, {
          limits: readLimits(body.exceptions ?? {}),
          ...(body.plan !== undefined && { planId: body.plan }),
        });
        if (!after) throw new TemperaError("plan_unknown");
        return { after: ownerBody(after), result: await detail(api, after) };
      });
    },
  );
}

async function detail(
  { plans, owners }: Dependencies,
  settings: OwnerSettings,
): Promise<z.input<typeof OWNER_DETAIL>> {
  const [limits, found, work] = await Promise.all([
    plans.limitsOf(settings.ownerId, ""),
    owners.find(settings.ownerId),
    owners.work(settings.ownerId),
  ]);
  return {
    ...ownerBody(settings),
    ...keysBody(found ?? { keysActive: 0, keys: 0 }),
    limits: limitsBody(limits.owner),
    requests_unfinished: work.unfinished,
    last_submitted_at:
      work.lastSubmittedAtMs === undefined ? null : new Date(work.lastSubmittedAtMs).toISOString(),
  };
}

function addKeyLimitRoutes(addRoute: AddRoute, { plans, keys }: Dependencies): void {
  const path = "/v1/tempera/keys/{key_id}/limits";
  const params = z.object({ key_id: z.string() });
  const response = z.object({ key_id: z.string(), limits: KEY_LIMITS });
  const keyBody = (keyId: string, limits: PlanLimits) => ({
    key_id: keyId,
    limits: limitsBody(limits, KEY_LIMIT_FIELDS),
  });
  const existingKey = async (text: string): Promise<string> => {
    const keyId = text.toLowerCase();
    if (!/^[0-9a-f-]{36}$/.test(keyId) || !(await keys.find(keyId))) throw new TemperaError("key_not_found");
    return keyId;
  };

  addRoute(
    {
      method: "get",
      path,
      summary: "Shows the limits of one key, which apply within those of its owner.",
      scope: "ADMIN",
      params,
      response,
      errors: ["key_not_found"],
    },
    async ({ params: { key_id } }) => {
      const keyId = await existingKey(key_id);
      return keyBody(keyId, await plans.keyLimits(keyId));
    },
  );

  addRoute(
    {
      method: "patch",
      path,
      summary: "Changes the limits of one key.",
      scope: "ADMIN",
      params,
      body: KEY_LIMITS_CHANGE,
      audit: "keys.allow",
      response,
      errors: ["key_not_found"],
    },
    async ({ params: { key_id }, body, change }) => {
      const keyId = await existingKey(key_id);
      return change({ subject: keyId, before: keyBody(keyId, await plans.keyLimits(keyId)) }, async () => {
        const limits = await plans.changeKey(keyId, readLimits(body));
        if (!limits) throw new TemperaError("key_not_found");
        return { after: keyBody(keyId, limits), result: keyBody(keyId, limits) };
      });
    },
  );
}
