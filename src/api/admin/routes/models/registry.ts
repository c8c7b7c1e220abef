import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { ModelVersion } from "../../../../core/models/model.ts";
import { newestFirst, type PublishedHead } from "../../../../core/models/published-version.ts";
import type { LiveVersion } from "../../../../registry/live-registry.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { uploadBody } from "../../../files/upload-body.ts";
import { PAGE_ANSWER, WHOLE } from "../../http/page.ts";
import { type PublishDependencies, publishArchive } from "./publish-archive.ts";
import { etag } from "../../http/etag.ts";
import { type AddVerb, Answered } from "../../http/route.ts";

const VERSION = z
  .object({
    endpoint_id: z.string(),
    version: z.string(),
    digest: z.string(),
    state: z.enum(["enabled", "disabled", "removed"]),
    source: z
      .enum(["folder", "pushed"])
      .openapi({ description: "folder: it lies in the models folder of this process and is always enabled" }),
    serves: z.boolean().openapi({ description: "Whether requests go to it now, all or a share of them." }),
    title: z.string(),
    category: z.string(),
    runner: z.string(),
    engine: z.string(),
    slots: z.int(),
    memory_mib: z.number(),
    pushed_by: z.string().nullable(),
    pushed_at: z.string().nullable(),
    changed_at: z.string().nullable(),
    revision: z.int().nullable(),
  })
  .openapi("ModelVersion");

const WHOLE_VERSION = VERSION.extend({
  manifest: z.record(z.string(), z.unknown()),
  input_schema: z.record(z.string(), z.unknown()),
  output_schema: z.record(z.string(), z.unknown()),
  files: z.array(z.object({ path: z.string(), sha256: z.string(), bytes: z.int() })),
}).openapi("WholeModelVersion");

const NAME = z.object({ version: z.string(), endpoint_id: z.string() });
const YES = z.enum(["true", "false"]).default("false");

const iso = (ms: number): string => new Date(ms).toISOString();

const headBody = (head: PublishedHead) => ({
  endpoint_id: head.endpoint,
  version: head.version,
  digest: head.digest,
  state: head.state,
  revision: head.revision,
});

/** Models that are added, switched and removed while everything runs. */
export function addRegistryVerbs(
  add: AddVerb,
  api: PublishDependencies & Pick<ApiDependencies, "liveRegistry">,
): void {
  const { liveRegistry, modelVersions } = api;

  const serves = ({ endpoint, version }: Pick<ModelVersion, "endpoint" | "version">): boolean => {
    const rollout = liveRegistry.rollout(endpoint);
    if (rollout)
      return version === rollout.toVersion
        ? rollout.share > 0
        : version === rollout.fromVersion && rollout.share < 100;
    return liveRegistry.route(endpoint)?.model?.version === version;
  };
  const body = (model: ModelVersion, live?: LiveVersion): z.input<typeof VERSION> => ({
    endpoint_id: model.endpoint,
    version: model.version,
    digest: model.digest,
    state: live?.state ?? "enabled",
    source: live ? "pushed" : "folder",
    serves: (live === undefined || live.state === "enabled") && serves(model),
    title: model.title,
    category: model.category,
    runner: model.runner,
    engine: model.engine,
    slots: model.slots,
    memory_mib: model.memoryMiB,
    pushed_by: live?.pushedBy ?? null,
    pushed_at: live ? iso(live.pushedAtMs) : null,
    changed_at: live ? iso(live.changedAtMs) : null,
    revision: live?.revision ?? null,
  });

  add(
    {
      method: "get",
      path: "/v1/registry/versions",
      says: "Lists every version of every model, whatever its state, by endpoint and newest first.",
      scope: "ADMIN",
      query: z.object({ endpoint_id: z.string().optional() }),
      answer: z.object({ versions: z.array(VERSION), ...PAGE_ANSWER }),
    },
    async ({ query: { endpoint_id: only } }) => {
      await liveRegistry.refresh();
      const all = [
        ...liveRegistry.inFolder().map((model) => body(model)),
        ...liveRegistry.published().map((live) => body(live.model, live)),
      ].filter(({ endpoint_id }) => only === undefined || endpoint_id === only);
      all.sort((a, b) =>
        a.endpoint_id === b.endpoint_id
          ? newestFirst(a.version, b.version)
          : a.endpoint_id < b.endpoint_id
            ? -1
            : 1,
      );
      return { versions: all, ...WHOLE };
    },
  );

  add(
    {
      method: "get",
      path: "/v1/registry/versions/{version}/{endpoint_id}",
      slashes: "endpoint_id",
      says: "Tells all of one version: its manifest, schemas and files.",
      scope: "ADMIN",
      params: NAME,
      answer: WHOLE_VERSION,
      errors: ["version_unknown"],
    },
    async ({ params: { endpoint_id: endpoint, version } }) => {
      await liveRegistry.refresh();
      const live = liveRegistry
        .published()
        .find((each) => each.endpoint === endpoint && each.version === version);
      const model =
        live?.model ??
        liveRegistry.inFolder().find((each) => each.endpoint === endpoint && each.version === version);
      if (!model) throw unknown(endpoint, version);
      const { schemas, digest: _, folder: __, ...manifest } = model;
      return new Answered(
        {
          ...body(model, live),
          manifest: manifest as unknown as Record<string, unknown>,
          input_schema: schemas.input,
          output_schema: schemas.output,
          files: (live?.files ?? []).map(({ path, sha256, bytes }) => ({ path, sha256, bytes })),
        },
        live ? etag(live.revision) : {},
      );
    },
  );

  add(
    {
      method: "post",
      path: "/v1/registry/versions",
      says: "Publishes a model version from an archive, the body (tar or tar.gz). Gateways and GPU workers know it within five seconds.",
      scope: "ADMIN",
      query: z.object({
        breaking: YES.openapi({
          description: "Publish although its schemas break callers of the version before.",
        }),
        state: z.enum(["enabled", "disabled"]).default("enabled"),
      }),
      audit: "models.push",
      streams: true,
      status: 201,
      answer: z.object({
        endpoint_id: z.string(),
        version: z.string(),
        digest: z.string(),
        state: VERSION.shape.state,
        revision: z.int(),
        already_there: z.boolean(),
        breaks: z.array(z.string()),
      }),
      errors: [
        "length_required",
        "body_too_large",
        "upload_interrupted",
        "package_invalid",
        "version_taken",
        "schema_breaks",
      ],
    },
    async ({ c, caller, query: { breaking, state }, change }) => {
      const upload = uploadBody(c, LIMITS.packageBytesMax);
      // The record is begun before a byte is kept: who pushed what came to nothing is worth knowing too.
      return change({ subject: "a model archive" }, async () => {
        const pushing = { body: upload.stream, pushedBy: caller.keyId, state, breaking: breaking === "true" };
        const { head, alreadyThere, breaks } = await publishArchive(api, pushing);
        // This process answers as if it had always known; the others are told.
        await liveRegistry.refresh().catch(() => {});
        const answer = headBody(head);
        return {
          subject: `${answer.endpoint_id} ${answer.version}`,
          after: { ...answer, ...(breaks.length > 0 && { breaks }) },
          result: new Answered({ ...answer, already_there: alreadyThere, breaks }, etag(answer.revision)),
        };
      });
    },
  );

  add(
    {
      method: "put",
      path: "/v1/registry/versions/{version}/{endpoint_id}",
      slashes: "endpoint_id",
      says: "Enables, disables or removes a version. What runs on it finishes.",
      scope: "ADMIN",
      params: NAME,
      body: z.strictObject({ state: z.enum(["enabled", "disabled", "removed"]) }),
      audit: "models.state",
      ifMatch: "optional",
      answer: z.object({
        endpoint_id: z.string(),
        version: z.string(),
        digest: z.string(),
        state: VERSION.shape.state,
        revision: z.int(),
      }),
      errors: ["version_unknown", "version_taken", "rollout_running"],
    },
    async ({ params: { endpoint_id: endpoint, version }, body: { state }, revision, change }) => {
      const before = (await modelVersions.heads()).find(
        (each) => each.endpoint === endpoint && each.version === version,
      );
      if (!before) {
        if (liveRegistry.find(endpoint, version)) {
          throw new TemperaError(
            "version_taken",
            `${endpoint} ${version} lies in the models folder and is always there; take it out there, or switch the model off: tempera flags set model ${endpoint} off`,
          );
        }
        throw unknown(endpoint, version);
      }
      if (before.state === "removed" && state !== "removed")
        throw new TemperaError("version_unknown", `${endpoint} ${version} was removed; push it again.`);
      return change({ subject: `${endpoint} ${version}`, before: headBody(before) }, async () => {
        const changed = await modelVersions.setState(endpoint, version, state, revision);
        if (!changed) throw unknown(endpoint, version);
        await liveRegistry.refresh().catch(() => {});
        return {
          after: headBody(changed.after),
          result: new Answered(headBody(changed.after), etag(changed.after.revision)),
        };
      });
    },
  );
}

const unknown = (endpoint: string, version: string): TemperaError =>
  new TemperaError(
    "version_unknown",
    `There is no version ${version} of ${endpoint}; see \`tempera models list --all\`.`,
  );
