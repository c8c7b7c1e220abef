import { OpenAPIHono } from "@hono/zod-openapi";
import type { BlankEnv } from "hono/types";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { PayloadCodec } from "../../core/operations/payload-codec.ts";
import type { ManifestCheck } from "../../registry/package-check.ts";
import { answerJson } from "../http/answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { IdempotentWrite } from "../requests/idempotent-write.ts";
import { createKeyGuard } from "../auth/key-guard.ts";
import { addAppVerbs } from "./routes/models/apps.ts";
import { addAuditVerbs } from "./routes/operations/audit.ts";
import { addCodecVerbs, CODEC_PATH, codecForBrowsers } from "./routes/operations/codec.ts";
import { addDeadLetterVerbs } from "./routes/requests/dead-letters.ts";
import { addDeliveryVerbs } from "./routes/webhooks/deliveries.ts";
import { addEngineVerbs } from "./routes/engines/engines.ts";
import { addFlagVerbs } from "./routes/models/flags.ts";
import { addKeyVerbs } from "./routes/owners/keys.ts";
import { addLogVerbs } from "./routes/requests/logs.ts";
import { addMetaVerbs } from "./routes/operations/meta.ts";
import { addModelVerbs } from "./routes/models/models.ts";
import { addNotImplemented } from "./routes/operations/not-implemented.ts";
import { addOwnerVerbs } from "./routes/owners/owners.ts";
import { addPayloadVerbs } from "./routes/requests/payloads.ts";
import { addPlanVerbs } from "./routes/owners/plans.ts";
import { platformError } from "./http/error-reply.ts";
import { addPricingVerbs } from "./routes/models/pricing.ts";
import { addQueueVerbs } from "./routes/requests/queues.ts";
import { addRegistryVerbs } from "./routes/models/registry.ts";
import { addRequestVerbs } from "./routes/requests/requests.ts";
import { addRetentionVerbs } from "./routes/operations/retention.ts";
import { addRolloutVerbs } from "./routes/models/rollouts.ts";
import { addSigningKeyVerbs } from "./routes/webhooks/signing-keys.ts";
import { addStorageVerbs } from "./routes/files/storage.ts";
import { addUsageVerbs } from "./routes/owners/usage.ts";
import { createAddVerb } from "./http/route.ts";
import { addWorkerVerbs } from "./routes/engines/workers.ts";
import { addWorkflowVerbs } from "./routes/pipelines/workflows.ts";

/** What the admin service's verbs are made of. */
export type AdminDependencies = Pick<
  ApiDependencies,
  | "keyRing"
  | "keys"
  | "keyHashes"
  | "audit"
  | "owners"
  | "registry"
  | "jobs"
  | "events"
  | "requests"
  | "requestSearch"
  | "nodeResults"
  | "publicUrl"
  | "objects"
  | "files"
  | "storage"
  | "uploadSecret"
  | "deadLetters"
  | "deliveries"
  | "redeliveries"
  | "signingKeys"
  | "engines"
  | "plans"
  | "pipelines"
  | "checkDefinition"
  | "webhookOf"
  | "ledger"
  | "retention"
  | "policy"
  | "schedules"
  | "logSearch"
  | "times"
  | "clock"
  | "log"
  | "liveRegistry"
  | "modelVersions"
  | "rollouts"
  | "flagStore"
  | "trustProxy"
> & {
  /** Knows what a model.yaml may say. */
  checkManifest: ManifestCheck;
  /** The addresses that deliveries come from, as ranges: what receivers may let through. */
  webhookSources: string[];
  /** Between what Temporal stores and what it stands for. */
  payloadCodec: PayloadCodec;
  /** Where the Temporal UI is opened: its pages may ask the codec endpoint. */
  temporalUiOrigins: readonly string[];
  /** Makes a change once for each idempotency key. */
  idempotentWrite: IdempotentWrite;
};

/**
 * The admin role's HTTP service (contract §10): the table of its subjects. How a verb is added stands in
 * `platform/verb.ts`.
 */
export function createAdmin(api: AdminDependencies): OpenAPIHono<BlankEnv> {
  const app = new OpenAPIHono<BlankEnv>({ strict: false });
  app.use(`${CODEC_PATH}/*`, codecForBrowsers(api.temporalUiOrigins));
  app.use(createKeyGuard({ trustProxy: api.trustProxy === true }));
  const add = createAddVerb(app, api);
  addMetaVerbs(add, api);
  addModelVerbs(add, api);
  addRegistryVerbs(add, api);
  addRolloutVerbs(add, api);
  addFlagVerbs(add, api);
  addPricingVerbs(add, api);
  addRequestVerbs(add, api);
  addPayloadVerbs(add, api);
  addKeyVerbs(add, api);
  addPlanVerbs(add, api);
  addAppVerbs(add, api);
  addQueueVerbs(add, api);
  addWorkflowVerbs(add, api);
  addStorageVerbs(add, api);
  addOwnerVerbs(add, api);
  addEngineVerbs(add, api);
  addWorkerVerbs(add, api);
  addDeliveryVerbs(add, api);
  addDeadLetterVerbs(add, api);
  addSigningKeyVerbs(add, api);
  addAuditVerbs(add, api);
  addUsageVerbs(add, api);
  addRetentionVerbs(add, api);
  addLogVerbs(add, api);
  addCodecVerbs(add, api);
  // Last: what is left of fal's calls.
  addNotImplemented(add, (method, path) => documented(app, method, path));

  app.get("/v1/openapi.json", (c) => answerJson(c, openapiOf(app)));
  app.get("/health/live", (c) => answerJson(c, { status: "live" }));
  for (const [path, methods] of methodsByPath(app)) {
    const allow = methods.join(", ");
    app.all(path, (c) =>
      platformError(c, new TemperaError("method_not_allowed"), { log: api.log, headers: { allow } }),
    );
  }
  app.notFound((c) =>
    platformError(c, new TemperaError("path_unknown", `Path ${c.req.path.slice(0, 200)} not found`), api),
  );
  app.onError((error, c) => platformError(c, error, api));
  return app;
}

/** Whether a verb was added. */
const documented = (app: OpenAPIHono<BlankEnv>, method: string, path: string): boolean =>
  app.openAPIRegistry.definitions.some(
    (each) => each.type === "route" && each.route.method === method && each.route.path === path,
  );

const methodsByPath = (app: OpenAPIHono<BlankEnv>): Map<string, string[]> => {
  const methods = new Map<string, string[]>();
  for (const { path, method } of app.routes.filter(({ method }) => method !== "ALL"))
    methods.set(path, [...(methods.get(path) ?? []), method, ...(method === "GET" ? ["HEAD"] : [])]);
  return methods;
};

/**
 * The OpenAPI document of the admin service, as `schemas/admin/openapi.json` keeps it: the text of that file.
 */
export const adminOpenapi = (): string => {
  // The verbs are only added, never called.
  const app = createAdmin({} as AdminDependencies);
  return `${JSON.stringify(openapiOf(app), null, 2)}\n`;
};

function openapiOf(app: OpenAPIHono<BlankEnv>): object {
  app.openAPIRegistry.registerComponent("securitySchemes", "key", {
    type: "apiKey",
    in: "header",
    name: "Authorization",
    description: "Key <key id>:<secret>",
  });
  return app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "Tempera admin service",
      version: "1",
      description: "fal's Platform API (https://docs.fal.ai) and what Tempera adds.",
    },
    servers: [{ url: "http://localhost:8081" }],
  });
}
