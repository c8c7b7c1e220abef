import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { ModelVersion } from "../../../../core/models/model.ts";
import { newestFirst, type PublishedHead } from "../../../../core/models/published-version.ts";
import type { LiveRegistry, LiveVersion, RefusedVersion } from "../../../../registry/live-registry.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { uploadBody } from "../../../files/upload-body.ts";
import { etag } from "../../http/etag.ts";
import { PAGE_FIELDS, SINGLE_PAGE } from "../../http/page.ts";
import { type AddRoute, Reply } from "../../http/route.ts";
import { type PublishDependencies, publishArchive } from "./publish-archive.ts";

const VERSION = z
  .object({
    endpoint_id: z.string(),
    version: z.string(),
    digest: z.string(),
    state: z.enum(["enabled", "disabled", "removed"]),
    source: z.enum(["folder", "pushed"]).openapi({
      description: "folder: the version is in the models folder of this process and is always enabled",
    }),
    serves: z.boolean().openapi({ description: "true: all requests or a share of them go to it now" }),
    refused: z
      .string()
      .nullable()
      .openapi({
        description:
          "The reason why no process serves the version: its signature or its schemas. Its content is not " +
          "trusted then, and null here.",
      }),
    title: z.string().nullable(),
    category: z.string().nullable(),
    runner: z.string().nullable(),
    engine: z.string().nullable(),
    slots: z.int().nullable(),
    memory_mib: z.number().nullable(),
    pushed_by: z.string().nullable(),
    pushed_at: z.string().nullable(),
    changed_at: z.string().nullable(),
    revision: z.int().nullable(),
  })
  .openapi("ModelVersion");

/** A model version, as the API lists it. */
export type VersionView = z.output<typeof VERSION>;

const VERSION_DETAIL = VERSION.extend({
  manifest: z.record(z.string(), z.unknown()),
  input_schema: z.record(z.string(), z.unknown()),
  output_schema: z.record(z.string(), z.unknown()),
  files: z.array(z.object({ path: z.string(), sha256: z.string(), bytes: z.int() })),
}).openapi("ModelVersionDetail");

const HEAD = z.object({
  endpoint_id: z.string(),
  version: z.string(),
  digest: z.string(),
  state: VERSION.shape.state,
  revision: z.int(),
});

const PUSHED = HEAD.extend({ already_there: z.boolean(), breaks: z.array(z.string()) });

/** The result of a push, as the API shows it. */
export type PushedView = z.output<typeof PUSHED>;

const PARAMS = z.object({ version: z.string(), endpoint_id: z.string() });
const VERSION_PATH = "/v1/registry/versions/{version}/{endpoint_id}";
const YES = z.enum(["true", "false"]).default("false");

const iso = (ms: number): string => new Date(ms).toISOString();

const headBody = (head: PublishedHead): z.input<typeof HEAD> => ({
  endpoint_id: head.endpoint,
  version: head.version,
  digest: head.digest,
  state: head.state,
  revision: head.revision,
});

/** Returns true if requests go to the version now, all or a share of them. */
function serves(registry: LiveRegistry, { endpoint, version }: ModelVersion): boolean {
  const rollout = registry.rollout(endpoint);
  if (!rollout) return registry.route(endpoint)?.model?.version === version;
  if (version === rollout.toVersion) return rollout.share > 0;
  return version === rollout.fromVersion && rollout.share < 100;
}

/** Describes a version. Without `live`, it is one of the models folder. */
const versionBody = (
  registry: LiveRegistry,
  model: ModelVersion,
  live?: LiveVersion,
): z.input<typeof VERSION> => ({
  endpoint_id: model.endpoint,
  version: model.version,
  digest: model.digest,
  state: live?.state ?? "enabled",
  source: live ? "pushed" : "folder",
  serves: (live === undefined || live.state === "enabled") && serves(registry, model),
  refused: null,
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

const refusedBody = (refused: RefusedVersion): z.input<typeof VERSION> => ({
  ...headBody(refused),
  source: "pushed",
  serves: false,
  refused: refused.reason,
  title: null,
  category: null,
  runner: null,
  engine: null,
  slots: null,
  memory_mib: null,
  pushed_by: refused.pushedBy,
  pushed_at: iso(refused.pushedAtMs),
  changed_at: iso(refused.changedAtMs),
});

type Dependencies = PublishDependencies & Pick<ApiDependencies, "liveRegistry">;

/** Adds the routes of model versions, which are published, enabled and removed while the platform runs. */
export function addRegistryRoutes(addRoute: AddRoute, api: Dependencies): void {
  addListRoute(addRoute, api);
  addDetailRoute(addRoute, api);
  addPublishRoute(addRoute, api);
  addStateRoute(addRoute, api);
}

function addListRoute(addRoute: AddRoute, { liveRegistry }: Dependencies): void {
  addRoute(
    {
      method: "get",
      path: "/v1/registry/versions",
      summary: "Lists every version of every model, in any state, by endpoint and newest version first.",
      scope: "ADMIN",
      query: z.object({ endpoint_id: z.string().optional() }),
      response: z.object({ versions: z.array(VERSION), ...PAGE_FIELDS }),
    },
    async ({ query: { endpoint_id: only } }) => {
      await liveRegistry.refresh();
      const versions = [
        ...liveRegistry.inFolder().map((model) => versionBody(liveRegistry, model)),
        ...liveRegistry.published().map((live) => versionBody(liveRegistry, live.model, live)),
        ...liveRegistry.refused().map(refusedBody),
      ].filter(({ endpoint_id }) => only === undefined || endpoint_id === only);
      versions.sort((a, b) => {
        if (a.endpoint_id === b.endpoint_id) return newestFirst(a.version, b.version);
        return a.endpoint_id < b.endpoint_id ? -1 : 1;
      });
      return { versions, ...SINGLE_PAGE };
    },
  );
}

function addDetailRoute(addRoute: AddRoute, { liveRegistry }: Dependencies): void {
  addRoute(
    {
      method: "get",
      path: VERSION_PATH,
      wildcard: "endpoint_id",
      summary: "Shows one version with its manifest, its schemas and the list of its files.",
      scope: "ADMIN",
      params: PARAMS,
      response: VERSION_DETAIL,
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
      if (!model) throw versionRefused(liveRegistry, endpoint, version) ?? versionUnknown(endpoint, version);
      const { schemas, digest: _, folder: __, ...manifest } = model;
      return new Reply(
        {
          ...versionBody(liveRegistry, model, live),
          manifest: manifest as unknown as Record<string, unknown>,
          input_schema: schemas.input,
          output_schema: schemas.output,
          files: (live?.files ?? []).map(({ path, sha256, bytes }) => ({ path, sha256, bytes })),
        },
        live ? etag(live.revision) : {},
      );
    },
  );
}

function addPublishRoute(addRoute: AddRoute, api: Dependencies): void {
  addRoute(
    {
      method: "post",
      path: "/v1/registry/versions",
      summary:
        "Publishes a model version from an archive (tar or tar.gz), which is the body. " +
        "Gateways and GPU workers load it within five seconds.",
      scope: "ADMIN",
      query: z.object({
        breaking: YES.openapi({
          description: "Publishes although the schemas break callers of the version before.",
        }),
        state: z.enum(["enabled", "disabled"]).default("enabled"),
      }),
      audit: "models.push",
      streamsBody: "application/gzip",
      status: 201,
      response: PUSHED,
      errors: [
        "length_required",
        "body_too_large",
        "upload_interrupted",
        "package_invalid",
        "version_taken",
        "breaking_schema_change",
      ],
    },
    async ({ c, caller, query: { breaking, state }, change }) => {
      const upload = uploadBody(c, LIMITS.packageBytesMax);
      // The audit record begins before the first byte is stored, so that failed pushes are recorded too.
      return change({ subject: "a model archive" }, async () => {
        const push = { body: upload.stream, pushedBy: caller.keyId, state, breaking: breaking === "true" };
        const { head, alreadyThere, breaks } = await publishArchive(api, push);
        // Refreshes this process at once; the database notifies the others.
        await api.liveRegistry.refresh().catch(() => {});
        const reply = headBody(head);
        return {
          subject: `${reply.endpoint_id} ${reply.version}`,
          after: { ...reply, ...(breaks.length > 0 && { breaks }) },
          result: new Reply({ ...reply, already_there: alreadyThere, breaks }, etag(reply.revision)),
        };
      });
    },
  );
}

function addStateRoute(addRoute: AddRoute, { liveRegistry, modelVersions }: Dependencies): void {
  addRoute(
    {
      method: "put",
      path: VERSION_PATH,
      wildcard: "endpoint_id",
      summary: "Enables, disables or removes a version. Requests that run on it finish.",
      scope: "ADMIN",
      params: PARAMS,
      body: z.strictObject({ state: z.enum(["enabled", "disabled", "removed"]) }),
      audit: "models.state",
      ifMatch: "optional",
      response: HEAD,
      errors: ["version_unknown", "version_taken", "rollout_running"],
    },
    async ({ params: { endpoint_id: endpoint, version }, body: { state }, revision, change }) => {
      const before = (await modelVersions.heads()).find(
        (each) => each.endpoint === endpoint && each.version === version,
      );
      if (!before)
        throw liveRegistry.find(endpoint, version)
          ? versionInFolder(endpoint, version)
          : versionUnknown(endpoint, version);
      if (before.state === "removed" && state !== "removed")
        throw new TemperaError("version_unknown", `${endpoint} ${version} was removed; push it again.`);
      return change({ subject: `${endpoint} ${version}`, before: headBody(before) }, async () => {
        const changed = await modelVersions.setState(endpoint, version, state, revision);
        if (!changed) throw versionUnknown(endpoint, version);
        await liveRegistry.refresh().catch(() => {});
        const after = headBody(changed.after);
        return { after, result: new Reply(after, etag(after.revision)) };
      });
    },
  );
}

const versionUnknown = (endpoint: string, version: string): TemperaError =>
  new TemperaError(
    "version_unknown",
    `There is no version ${version} of ${endpoint}; see \`tempera models list --all\`.`,
  );

function versionRefused(registry: LiveRegistry, endpoint: string, version: string): TemperaError | undefined {
  const refused = registry.refused().find((each) => each.endpoint === endpoint && each.version === version);
  return (
    refused && new TemperaError("version_unknown", `${endpoint} ${version} is refused: ${refused.reason}.`)
  );
}

const versionInFolder = (endpoint: string, version: string): TemperaError =>
  new TemperaError(
    "version_taken",
    `${endpoint} ${version} is in the models folder and is always enabled; remove it from the folder, ` +
      `or switch the model off: tempera flags set model ${endpoint} off`,
  );
