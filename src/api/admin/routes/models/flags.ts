import { z } from "@hono/zod-openapi";
import { isEndpointId } from "../../../../core/models/endpoint.ts";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { BEHAVIOURS, FLAG_KINDS, type Flag, isBehaviour } from "../../../../core/models/flags.ts";
import type { FlagName } from "../../../../core/models/flag-store.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { PAGE_ANSWER, WHOLE } from "../../http/page.ts";
import { etag } from "../../http/etag.ts";
import { type AddVerb, Answered } from "../../http/route.ts";

const FLAG = z
  .object({
    kind: z.enum(FLAG_KINDS),
    name: z.string(),
    owner: z.string().nullable().openapi({ description: "The owner it is for; null: everybody." }),
    share: z.number().openapi({ description: "Percent of the owners it is on for: 0 is off, 100 is on." }),
    changed_by: z.string(),
    changed_at: z.string(),
    revision: z.int(),
  })
  .openapi("Flag");

const PLACE = z.object({ kind: z.enum(FLAG_KINDS), name: z.string().min(1).max(500) });
const OWNER = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,64}$/, "Input should be 1 to 64 letters, digits, dots, dashes or underscores")
  .optional();

const flagBody = ({
  kind,
  name,
  ownerId,
  share,
  changedBy,
  changedAtMs,
  revision,
}: Flag): z.input<typeof FLAG> => ({
  kind,
  name,
  owner: ownerId ?? null,
  share,
  changed_by: changedBy,
  changed_at: new Date(changedAtMs).toISOString(),
  revision,
});

/** What is switched on and off: models, workflows and named behaviours. */
export function addFlagVerbs(
  add: AddVerb,
  { flagStore, liveRegistry }: Pick<ApiDependencies, "flagStore" | "liveRegistry">,
): void {
  /** What an audit record shows. */
  const now = async ({ kind, name, ownerId }: FlagName): Promise<Flag | undefined> =>
    (await flagStore.list()).find(
      (flag) => flag.kind === kind && flag.name === name && flag.ownerId === ownerId,
    );

  add(
    {
      method: "get",
      path: "/v1/flags",
      says: "Lists the flags that are set, and the behaviours that there are. What has no flag is on.",
      scope: "ADMIN",
      answer: z.object({
        flags: z.array(FLAG),
        behaviours: z.record(z.string(), z.string()),
        ...PAGE_ANSWER,
      }),
    },
    async () => ({ flags: (await flagStore.list()).map(flagBody), behaviours: BEHAVIOURS, ...WHOLE }),
  );

  add(
    {
      method: "put",
      path: "/v1/flags/{kind}/{name}",
      slashes: "name",
      says: "Switches a model, a workflow or a behaviour on or off, for everybody, for one owner, or for a share of the owners.",
      scope: "ADMIN",
      params: PLACE,
      body: z.strictObject({
        share: z.number().min(0, "Input should be from 0 to 100").max(100, "Input should be from 0 to 100"),
        owner: OWNER,
      }),
      audit: "flags.set",
      ifMatch: "optional",
      answer: FLAG,
    },
    async ({ params: { kind, name }, body: { share, owner }, caller, revision, change }) => {
      checkName(kind, name);
      const place = { kind, name, ...(owner !== undefined && { ownerId: owner }) };
      const before = await now(place);
      return change({ subject: subjectOf(place), ...(before && { before: flagBody(before) }) }, async () => {
        const { after } = await flagStore.set({ ...place, share, changedBy: caller.keyId }, revision);
        await liveRegistry.refresh().catch(() => {});
        return { after: flagBody(after), result: new Answered(flagBody(after), etag(after.revision)) };
      });
    },
  );

  add(
    {
      method: "delete",
      path: "/v1/flags/{kind}/{name}",
      slashes: "name",
      says: "Takes a flag away.",
      scope: "ADMIN",
      params: PLACE,
      query: z.object({ owner: OWNER }),
      audit: "flags.clear",
      ifMatch: "optional",
      status: 204,
      errors: ["flag_unknown"],
    },
    async ({ params: { kind, name }, query: { owner }, revision, change }) => {
      const place = { kind, name, ...(owner !== undefined && { ownerId: owner }) };
      const before = await now(place);
      if (!before)
        throw new TemperaError(
          "flag_unknown",
          `There is no flag ${subjectOf(place)}; see \`tempera flags list\`.`,
        );
      return change({ subject: subjectOf(place), before: flagBody(before) }, async () => {
        if (!(await flagStore.clear(place, revision))) throw new TemperaError("flag_unknown");
        await liveRegistry.refresh().catch(() => {});
        return { result: undefined };
      });
    },
  );
}

const subjectOf = ({ kind, name, ownerId }: FlagName): string =>
  `${kind} ${name}${ownerId === undefined ? "" : ` for ${ownerId}`}`;

/** A flag of what is not there yet is fine; of what can never be is a slip. */
function checkName(kind: Flag["kind"], name: string): void {
  const says =
    kind === "behaviour"
      ? isBehaviour(name)
        ? undefined
        : `There is no behaviour "${name.slice(0, 100)}"; there are ${Object.keys(BEHAVIOURS).join(", ")}.`
      : isEndpointId(name)
        ? undefined
        : `"${name.slice(0, 100)}" is no endpoint (owner/alias[/path]).`;
  if (says)
    throw new TemperaError("input_invalid", says, {
      faults: [{ loc: ["path", "name"], msg: says, type: "value_error" }],
    });
}
