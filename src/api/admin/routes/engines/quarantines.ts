import { z } from "@hono/zod-openapi";
import { crashRefusals, type ListedRefusal } from "../../../../core/engines/crash-refusals.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { cursorOf, PAGE_FIELDS, PAGE_QUERY, paged, textAfter } from "../../http/page.ts";
import type { AddRoute } from "../../http/route.ts";

const QUARANTINE = z
  .object({
    endpoint_id: z.string(),
    version: z.string(),
    owner: z.string(),
    input_digest: z
      .string()
      .nullable()
      .openapi({ description: "null: all requests of the owner for this model version are refused" }),
    error_type: z.enum(["input_quarantined", "engine_crash_limit"]),
    message: z.string().openapi({ description: "The refusal as the owner gets it; it names requests." }),
    seconds_left: z.int(),
  })
  .openapi("Quarantine");

/** A refusal because of crashes, as the API shows it. */
export type QuarantineView = z.output<typeof QUARANTINE>;

const quarantineBody = (refusal: ListedRefusal): QuarantineView => ({
  endpoint_id: refusal.endpoint,
  version: refusal.version,
  owner: refusal.ownerId,
  input_digest: refusal.inputDigest ?? null,
  error_type: refusal.code,
  message: refusal.message,
  seconds_left: Math.ceil(refusal.forMs / 1_000),
});

const NAME = z.string().min(1, "Input should be a valid string");
const LIFTED = z.object({
  lifted: z.int().openapi({ description: "The number of crash records that were forgotten." }),
});

/** The answer to a lift. */
export type LiftedView = z.output<typeof LIFTED>;

/** Adds the routes of what is refused because it crashed engines (docs/decisions/0039). */
export function addQuarantineRoutes(
  addRoute: AddRoute,
  { crashes, crashesOfOwnerMax }: Pick<ApiDependencies, "crashes"> & { crashesOfOwnerMax: number },
): void {
  addRoute(
    {
      method: "get",
      path: "/v1/engines/quarantines",
      summary: "Lists the inputs and owners whose requests are refused because they crashed engines.",
      scope: "ADMIN",
      query: PAGE_QUERY,
      response: z.object({ quarantines: z.array(QUARANTINE), ...PAGE_FIELDS }),
    },
    async ({ query: { limit, cursor } }) => {
      const after = textAfter({ cursor }) ?? "";
      const found = crashRefusals(await crashes.list(), crashesOfOwnerMax).filter(({ key }) => key > after);
      const { items, ...page } = paged(found, limit, ({ key }) => cursorOf(key));
      return { quarantines: items.map(quarantineBody), ...page };
    },
  );
  addRoute(
    {
      method: "post",
      path: "/v1/engines/quarantines/lift",
      summary: "Forgets the crashes of an owner's input, or of all its requests, for a model version.",
      scope: "ADMIN",
      body: z.strictObject({
        endpoint_id: NAME,
        version: NAME,
        owner: NAME,
        input_digest: NAME.nullish().openapi({ description: "Absent: all crashes of the owner." }),
      }),
      audit: "engines.quarantines.lift",
      response: LIFTED,
    },
    async ({ body: { endpoint_id: endpoint, version, owner: ownerId, input_digest }, change }) =>
      change({ subject: `${endpoint} ${version} ${ownerId}` }, async () => {
        const lifted = await crashes.forget({
          endpoint,
          version,
          ownerId,
          ...(input_digest && { inputDigest: input_digest }),
        });
        return { after: { input_digest: input_digest ?? null, lifted }, result: { lifted } };
      }),
  );
}
