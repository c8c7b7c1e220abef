import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { newestFirst } from "../../../../core/models/published-version.ts";
import type { Rollout, RolloutRules } from "../../../../core/models/rollout.ts";
import type { LiveRegistry } from "../../../../registry/live-registry.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { PAGE_ANSWER, WHOLE } from "../../http/page.ts";
import { etag } from "../../http/etag.ts";
import { type AddVerb, Answered } from "../../http/route.ts";

const SHARE = z.number().min(0, "Input should be from 0 to 100").max(100, "Input should be from 0 to 100");

const RULES = z.strictObject({
  window_seconds: z
    .int()
    .min(10)
    .max(86_400)
    .default(300)
    .openapi({ description: "How far back is looked." }),
  requests_min: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(20)
    .openapi({ description: "Fewer ended requests of the newer version say nothing." }),
  error_margin: z
    .number()
    .min(0)
    .max(100)
    .default(2)
    .openapi({ description: "Percentage points by which its error rate may be above the older version's." }),
  p95_ratio: z
    .number()
    .min(1)
    .max(100)
    .default(1.5)
    .openapi({ description: "Times the older version's p95 that its own may be." }),
  promote_after_seconds: z
    .int()
    .min(10)
    .max(30 * 86_400)
    .optional()
    .openapi({
      description: "Promoted when it was not worse for this long. Without it a person promotes it.",
    }),
});

const ROLLOUT = z
  .object({
    rollout_id: z.string(),
    endpoint_id: z.string(),
    from_version: z.string(),
    to_version: z.string(),
    share: z.number().openapi({
      description: "Percent of the requests, by hash of their id, that go to the newer version.",
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

/** Shares of requests for newer versions. */
export function addRolloutVerbs(
  add: AddVerb,
  { rollouts, liveRegistry }: Pick<ApiDependencies, "rollouts" | "liveRegistry">,
): void {
  const running = async (rolloutId: string): Promise<Rollout> => {
    const found = (await rollouts.list()).find(
      (each) => each.rolloutId === rolloutId && each.state === "running",
    );
    if (!found) throw new TemperaError("rollout_unknown");
    return found;
  };
  const subjectOf = ({ endpoint, toVersion }: Rollout): string => `${endpoint} ${toVersion}`;

  add(
    {
      method: "get",
      path: "/v1/rollouts",
      says: "Lists the rollouts that run and the last hundred that ended, newest first.",
      scope: "ADMIN",
      answer: z.object({ rollouts: z.array(ROLLOUT), ...PAGE_ANSWER }),
    },
    async () => ({ rollouts: (await rollouts.list()).map(rolloutBody), ...WHOLE }),
  );

  add(
    {
      method: "post",
      path: "/v1/rollouts",
      says: "Sends a share of an endpoint's requests to a newer version, which is enabled in the same moment.",
      scope: "ADMIN",
      body: z.strictObject({
        endpoint_id: z.string(),
        to_version: z.string(),
        share: SHARE,
        rules: RULES.optional(),
      }),
      audit: "rollouts.start",
      status: 201,
      answer: ROLLOUT,
      errors: ["version_unknown", "rollout_running", "rollout_invalid"],
    },
    async ({ body: { endpoint_id: endpoint, to_version: toVersion, share, rules }, caller, change }) => {
      await liveRegistry.refresh();
      const fromVersion = fromOf(liveRegistry, endpoint, toVersion);
      return change({ subject: `${endpoint} ${toVersion}` }, async () => {
        const fromFolder = liveRegistry
          .inFolder()
          .some((each) => each.endpoint === endpoint && each.version === fromVersion);
        const started = { endpoint, fromVersion, fromFolder, toVersion, share, startedBy: caller.keyId };
        const rollout = await rollouts.start({ ...started, ...(rules && { rules: rulesOf(rules) }) });
        await liveRegistry.refresh().catch(() => {});
        return {
          after: rolloutBody(rollout),
          result: new Answered(rolloutBody(rollout), etag(rollout.revision)),
        };
      });
    },
  );

  add(
    {
      method: "put",
      path: "/v1/rollouts/{rollout_id}/share",
      says: "Changes the share of a rollout. Whoever was in a smaller one stays.",
      scope: "ADMIN",
      params: z.object({ rollout_id: z.string() }),
      body: z.strictObject({ share: SHARE }),
      audit: "rollouts.share",
      ifMatch: "optional",
      answer: ROLLOUT,
      errors: ["rollout_unknown"],
    },
    async ({ params, body: { share }, revision, change }) => {
      const before = await running(params.rollout_id);
      return change({ subject: subjectOf(before), before: rolloutBody(before) }, async () => {
        const changed = await rollouts.setShare(before.rolloutId, share, revision);
        if (!changed) throw new TemperaError("rollout_unknown");
        await liveRegistry.refresh().catch(() => {});
        return {
          after: rolloutBody(changed.after),
          result: new Answered(rolloutBody(changed.after), etag(changed.after.revision)),
        };
      });
    },
  );

  for (const [verb, state, says] of [
    ["promote", "promoted", "The newer version serves everybody from now on."],
    [
      "rollback",
      "rolled_back",
      "The older version serves everybody again, and the newer one is disabled; what runs on it finishes.",
    ],
  ] as const) {
    add(
      {
        method: "post",
        path: `/v1/rollouts/{rollout_id}/${verb}`,
        says,
        scope: "ADMIN",
        params: z.object({ rollout_id: z.string() }),
        body: z.strictObject({ reason: z.string().min(1).max(500).default("By hand.") }),
        audit: `rollouts.${verb}`,
        ifMatch: "optional",
        answer: ROLLOUT,
        errors: ["rollout_unknown"],
      },
      async ({ params, body: { reason }, revision, change }) => {
        const before = await running(params.rollout_id);
        return change({ subject: subjectOf(before), before: rolloutBody(before) }, async () => {
          const ended = await rollouts.end(before.rolloutId, { state, reason }, revision);
          if (!ended) throw new TemperaError("rollout_unknown");
          await liveRegistry.refresh().catch(() => {});
          return {
            after: rolloutBody(ended.after),
            result: new Answered(rolloutBody(ended.after), etag(ended.after.revision)),
          };
        });
      },
    );
  }
}

/** The version that serves now, from which the rollout goes. Throws when there can be no such rollout. */
function fromOf(registry: LiveRegistry, endpoint: string, toVersion: string): string {
  const published = registry
    .published()
    .filter((each) => each.endpoint === endpoint && each.state !== "removed");
  const to = published.find(({ version }) => version === toVersion);
  if (!to) {
    const inFolder = registry
      .inFolder()
      .some((each) => each.endpoint === endpoint && each.version === toVersion);
    if (inFolder) {
      throw new TemperaError(
        "rollout_invalid",
        `${endpoint} ${toVersion} lies in the models folder, where nothing can take it back; push it instead.`,
      );
    }
    throw new TemperaError(
      "version_unknown",
      `There is no version ${toVersion} of ${endpoint}; push it first, with --disabled.`,
    );
  }
  const enabled = [...registry.inFolder(), ...published.filter(({ state }) => state === "enabled")]
    .filter((each) => each.endpoint === endpoint && each.version !== toVersion)
    .map(({ version }) => version)
    .sort(newestFirst);
  const [from] = enabled;
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
