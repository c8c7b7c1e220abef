import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { newestFirst } from "../../../../core/models/published-version.ts";
import type { Rollout, RolloutRules } from "../../../../core/models/rollout.ts";
import type { LiveRegistry } from "../../../../registry/live-registry.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { etag } from "../../http/etag.ts";
import { PAGE_FIELDS, SINGLE_PAGE } from "../../http/page.ts";
import { type AddRoute, Reply } from "../../http/route.ts";

const SHARE = z.number().min(0, "Input should be from 0 to 100").max(100, "Input should be from 0 to 100");

const RULES = z.strictObject({
  window_seconds: z
    .int()
    .min(10)
    .max(86_400)
    .default(300)
    .openapi({ description: "Seconds before now whose ended requests are compared." }),
  requests_min: z.int().min(1).max(1_000_000).default(20).openapi({
    description:
      "Ended requests of the newer version in the window below which the versions are not compared.",
  }),
  error_margin: z.number().min(0).max(100).default(2).openapi({
    description: "Percentage points by which the newer version's error rate may exceed the older version's.",
  }),
  p95_ratio: z.number().min(1).max(100).default(1.5).openapi({
    description: "Factor by which the newer version's p95 duration may exceed the older version's.",
  }),
  promote_after_seconds: z
    .int()
    .min(10)
    .max(30 * 86_400)
    .optional()
    .openapi({
      description:
        "Promotes the newer version when it has not been worse for this long. Default: a person promotes it.",
    }),
});

const ROLLOUT = z
  .object({
    rollout_id: z.string(),
    endpoint_id: z.string(),
    from_version: z.string(),
    to_version: z.string(),
    share: z.number().openapi({
      description: "Percentage of the requests, by a hash of their ids, that go to the newer version.",
    }),
    state: z.enum(["running", "promoted", "rolled_back"]),
    rules: RULES.nullable(),
    reason: z.string().nullable(),
    started_by: z.string(),
    started_at: z.string(),
    changed_at: z.string(),
    revision: z.int(),
  })
  .openapi("Rollout");

/** A rollout, as the API shows it. */
export type RolloutView = z.output<typeof ROLLOUT>;

const PARAMS = z.object({ rollout_id: z.string() });

const iso = (ms: number): string => new Date(ms).toISOString();

const rulesBody = (rules: RolloutRules) => ({
  window_seconds: rules.windowSeconds,
  requests_min: rules.requestsMin,
  error_margin: rules.errorMargin,
  p95_ratio: rules.p95Ratio,
  ...(rules.promoteAfterSeconds !== undefined && { promote_after_seconds: rules.promoteAfterSeconds }),
});

const rulesOf = (rules: z.output<typeof RULES>): RolloutRules => ({
  windowSeconds: rules.window_seconds,
  requestsMin: rules.requests_min,
  errorMargin: rules.error_margin,
  p95Ratio: rules.p95_ratio,
  ...(rules.promote_after_seconds !== undefined && { promoteAfterSeconds: rules.promote_after_seconds }),
});

const rolloutBody = (rollout: Rollout) => ({
  rollout_id: rollout.rolloutId,
  endpoint_id: rollout.endpoint,
  from_version: rollout.fromVersion,
  to_version: rollout.toVersion,
  share: rollout.share,
  state: rollout.state,
  rules: rollout.rules ? rulesBody(rollout.rules) : null,
  reason: rollout.reason ?? null,
  started_by: rollout.startedBy,
  started_at: iso(rollout.startedAtMs),
  changed_at: iso(rollout.changedAtMs),
  revision: rollout.revision,
});

/** Returns the two halves of a change's result: the audit record's new state, and the reply. */
const changedTo = (rollout: Rollout) => ({
  after: rolloutBody(rollout),
  result: new Reply(rolloutBody(rollout), etag(rollout.revision)),
});

const subjectOf = ({ endpoint, toVersion }: Rollout): string => `${endpoint} ${toVersion}`;

type Dependencies = Pick<ApiDependencies, "rollouts" | "liveRegistry">;

/** Adds the routes of rollouts, which send a share of an endpoint's requests to a newer version. */
export function addRolloutRoutes(addRoute: AddRoute, api: Dependencies): void {
  addRoute(
    {
      method: "get",
      path: "/v1/rollouts",
      summary: "Lists the running rollouts and the last hundred that ended, newest first.",
      scope: "ADMIN",
      response: z.object({ rollouts: z.array(ROLLOUT), ...PAGE_FIELDS }),
    },
    async () => ({ rollouts: (await api.rollouts.list()).map(rolloutBody), ...SINGLE_PAGE }),
  );
  addStartRoute(addRoute, api);
  addShareRoute(addRoute, api);
  addEndRoutes(addRoute, api);
}

/** Throws `rollout_unknown` when the rollout does not exist or has ended. */
async function runningRollout({ rollouts }: Dependencies, rolloutId: string): Promise<Rollout> {
  const found = (await rollouts.list()).find(
    (each) => each.rolloutId === rolloutId && each.state === "running",
  );
  if (!found) throw new TemperaError("rollout_unknown");
  return found;
}

function addStartRoute(addRoute: AddRoute, { rollouts, liveRegistry }: Dependencies): void {
  addRoute(
    {
      method: "post",
      path: "/v1/rollouts",
      summary:
        "Sends a share of an endpoint's requests to a newer version, which is enabled in the same " +
        "transaction.",
      scope: "ADMIN",
      body: z.strictObject({
        endpoint_id: z.string(),
        to_version: z.string(),
        share: SHARE,
        rules: RULES.optional(),
      }),
      audit: "rollouts.start",
      status: 201,
      response: ROLLOUT,
      errors: ["version_unknown", "rollout_running", "rollout_invalid"],
    },
    async ({ body: { endpoint_id: endpoint, to_version: toVersion, share, rules }, caller, change }) => {
      await liveRegistry.refresh();
      const fromVersion = servingVersion(liveRegistry, endpoint, toVersion);
      return change({ subject: `${endpoint} ${toVersion}` }, async () => {
        const fromFolder = isInFolder(liveRegistry, endpoint, fromVersion);
        const start = { endpoint, fromVersion, fromFolder, toVersion, share, startedBy: caller.keyId };
        const rollout = await rollouts.start({ ...start, ...(rules && { rules: rulesOf(rules) }) });
        await liveRegistry.refresh().catch(() => {});
        return changedTo(rollout);
      });
    },
  );
}

function addShareRoute(addRoute: AddRoute, api: Dependencies): void {
  addRoute(
    {
      method: "put",
      path: "/v1/rollouts/{rollout_id}/share",
      summary:
        "Changes the share of a rollout. Requests that belonged to a smaller share belong to a larger one.",
      scope: "ADMIN",
      params: PARAMS,
      body: z.strictObject({ share: SHARE }),
      audit: "rollouts.share",
      ifMatch: "optional",
      response: ROLLOUT,
      errors: ["rollout_unknown"],
    },
    async ({ params, body: { share }, revision, change }) => {
      const before = await runningRollout(api, params.rollout_id);
      return change({ subject: subjectOf(before), before: rolloutBody(before) }, async () => {
        const changed = await api.rollouts.setShare(before.rolloutId, share, revision);
        if (!changed) throw new TemperaError("rollout_unknown");
        await api.liveRegistry.refresh().catch(() => {});
        return changedTo(changed.after);
      });
    },
  );
}

function addEndRoutes(addRoute: AddRoute, api: Dependencies): void {
  for (const [action, state, summary] of [
    ["promote", "promoted", "Sends all requests to the newer version and ends the rollout."],
    [
      "rollback",
      "rolled_back",
      "Sends all requests to the older version again, disables the newer one, and ends the rollout. " +
        "Requests that run on the newer version finish.",
    ],
  ] as const) {
    addRoute(
      {
        method: "post",
        path: `/v1/rollouts/{rollout_id}/${action}`,
        summary,
        scope: "ADMIN",
        params: PARAMS,
        body: z.strictObject({ reason: z.string().min(1).max(500).default("By hand.") }),
        audit: `rollouts.${action}`,
        ifMatch: "optional",
        response: ROLLOUT,
        errors: ["rollout_unknown"],
      },
      async ({ params, body: { reason }, revision, change }) => {
        const before = await runningRollout(api, params.rollout_id);
        return change({ subject: subjectOf(before), before: rolloutBody(before) }, async () => {
          const ended = await api.rollouts.end(before.rolloutId, { state, reason }, revision);
          if (!ended) throw new TemperaError("rollout_unknown");
          await api.liveRegistry.refresh().catch(() => {});
          return changedTo(ended.after);
        });
      },
    );
  }
}

const isInFolder = (registry: LiveRegistry, endpoint: string, version: string): boolean =>
  registry.inFolder().some((each) => each.endpoint === endpoint && each.version === version);

/**
 * Returns the version that serves an endpoint now and that a rollout to `toVersion` starts from.
 *
 * Throws `version_unknown` or `rollout_invalid` when such a rollout is impossible.
 */
function servingVersion(registry: LiveRegistry, endpoint: string, toVersion: string): string {
  const published = registry
    .published()
    .filter((each) => each.endpoint === endpoint && each.state !== "removed");
  if (!published.some(({ version }) => version === toVersion)) {
    if (isInFolder(registry, endpoint, toVersion))
      throw new TemperaError(
        "rollout_invalid",
        `${endpoint} ${toVersion} is in the models folder and cannot be rolled back; push it instead.`,
      );
    throw new TemperaError(
      "version_unknown",
      `There is no version ${toVersion} of ${endpoint}; push it first, with --disabled.`,
    );
  }
  const [from] = [...registry.inFolder(), ...published.filter(({ state }) => state === "enabled")]
    .filter((each) => each.endpoint === endpoint && each.version !== toVersion)
    .map(({ version }) => version)
    .sort(newestFirst);
  if (from === undefined)
    throw new TemperaError(
      "rollout_invalid",
      `${endpoint} has no other enabled version; enable ${toVersion} instead.`,
    );
  if (newestFirst(toVersion, from) > 0)
    throw new TemperaError(
      "rollout_invalid",
      `${endpoint} is served by ${from}, which is newer than ${toVersion}; disable ${from} to go back.`,
    );
  return from;
}
