import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { isEndpointId } from "../../../../core/models/endpoint.ts";
import type { FlagName } from "../../../../core/models/flag-store.ts";
import { BEHAVIOURS, FLAG_KINDS, type Flag, isBehaviour } from "../../../../core/models/flags.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { etag } from "../../http/etag.ts";
import { PAGE_FIELDS, SINGLE_PAGE } from "../../http/page.ts";
import { type AddRoute, Reply } from "../../http/route.ts";

const FLAG = z
  .object({
    kind: z.enum(FLAG_KINDS),
    name: z.string(),
    owner: z.string().nullable().openapi({ description: "The owner that the flag applies to; null: all." }),
    share: z
      .number()
      .openapi({ description: "Percentage of the owners for whom it is on: 0 is off, 100 is on." }),
    changed_by: z.string(),
    changed_at: z.string(),
    revision: z.int(),
  })
  .openapi("Flag");

/** A flag, as the API shows it. */
export type FlagView = z.output<typeof FLAG>;

const PARAMS = z.object({ kind: z.enum(FLAG_KINDS), name: z.string().min(1).max(500) });
const OWNER = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,64}$/, "Input should be 1 to 64 letters, digits, dots, dashes or underscores")
  .optional();

const flagBody = ({ kind, name, ownerId, share, changedBy, changedAtMs, revision }: Flag): FlagView => ({
  kind,
  name,
  owner: ownerId ?? null,
  share,
  changed_by: changedBy,
  changed_at: new Date(changedAtMs).toISOString(),
  revision,
});

type Dependencies = Pick<ApiDependencies, "flagStore" | "liveRegistry">;

/** Adds the routes of flags, which switch models, workflows and named behaviours on and off. */
export function addFlagRoutes(addRoute: AddRoute, api: Dependencies): void {
  const { flagStore } = api;
  addRoute(
    {
      method: "get",
      path: "/v1/flags",
      summary: "Lists the flags that are set, and all behaviours. Whatever has no flag is on.",
      scope: "ADMIN",
      response: z.object({
        flags: z.array(FLAG),
        behaviours: z.record(z.string(), z.string()),
        ...PAGE_FIELDS,
      }),
    },
    async () => ({ flags: (await flagStore.list()).map(flagBody), behaviours: BEHAVIOURS, ...SINGLE_PAGE }),
  );
  addSetRoute(addRoute, api);
  addClearRoute(addRoute, api);
}

/** Returns the current flag, for the audit record. */
async function currentFlag(
  { flagStore }: Dependencies,
  { kind, name, ownerId }: FlagName,
): Promise<Flag | undefined> {
  return (await flagStore.list()).find(
    (flag) => flag.kind === kind && flag.name === name && flag.ownerId === ownerId,
  );
}

function addSetRoute(addRoute: AddRoute, api: Dependencies): void {
  addRoute(
    {
      method: "put",
      path: "/v1/flags/{kind}/{name}",
      wildcard: "name",
      summary:
        "Switches a model, a workflow or a behaviour on or off, for everybody, for one owner, " +
        "or for a share of the owners.",
      scope: "ADMIN",
      params: PARAMS,
      body: z.strictObject({
        share: z.number().min(0, "Input should be from 0 to 100").max(100, "Input should be from 0 to 100"),
        owner: OWNER,
      }),
      audit: "flags.set",
      ifMatch: "optional",
      response: FLAG,
    },
    async ({ params: { kind, name }, body: { share, owner }, caller, revision, change }) => {
      checkName(kind, name);
      const flag = { kind, name, ...(owner !== undefined && { ownerId: owner }) };
      const before = await currentFlag(api, flag);
      return change({ subject: subjectOf(flag), ...(before && { before: flagBody(before) }) }, async () => {
        const { after } = await api.flagStore.set({ ...flag, share, changedBy: caller.keyId }, revision);
        await api.liveRegistry.refresh().catch(() => {});
        return { after: flagBody(after), result: new Reply(flagBody(after), etag(after.revision)) };
      });
    },
  );
}

function addClearRoute(addRoute: AddRoute, api: Dependencies): void {
  addRoute(
    {
      method: "delete",
      path: "/v1/flags/{kind}/{name}",
      wildcard: "name",
      summary: "Removes a flag.",
      scope: "ADMIN",
      params: PARAMS,
      query: z.object({ owner: OWNER }),
      audit: "flags.clear",
      ifMatch: "optional",
      status: 204,
      errors: ["flag_unknown"],
    },
    async ({ params: { kind, name }, query: { owner }, revision, change }) => {
      const flag = { kind, name, ...(owner !== undefined && { ownerId: owner }) };
      const before = await currentFlag(api, flag);
      if (!before)
        throw new TemperaError(
          "flag_unknown",
          `There is no flag ${subjectOf(flag)}; see \`tempera flags list\`.`,
        );
      return change({ subject: subjectOf(flag), before: flagBody(before) }, async () => {
        if (!(await api.flagStore.clear(flag, revision))) throw new TemperaError("flag_unknown");
        await api.liveRegistry.refresh().catch(() => {});
        return { result: undefined };
      });
    },
  );
}

const subjectOf = ({ kind, name, ownerId }: FlagName): string =>
  `${kind} ${name}${ownerId === undefined ? "" : ` for ${ownerId}`}`;

/** Refuses a name that can never exist. A flag may be set before its model or workflow exists. */
function checkName(kind: Flag["kind"], name: string): void {
  if (kind === "behaviour" ? isBehaviour(name) : isEndpointId(name)) return;
  const shown = name.slice(0, 100);
  const msg =
    kind === "behaviour"
      ? `There is no behaviour "${shown}"; there are ${Object.keys(BEHAVIOURS).join(", ")}.`
      : `"${shown}" is no endpoint (owner/alias[/path]).`;
  throw new TemperaError("input_invalid", msg, {
    faults: [{ loc: ["path", "name"], msg, type: "value_error" }],
  });
}
