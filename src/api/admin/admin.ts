/**
 * The admin service: fal's Platform API and Tempera's own operations over HTTP, for operators and the
 * `tempera` command. `http/` is the framework of its routes, `routes/` has a folder per subject and in it a
 * file per resource, and this file adds them all.
 */

import { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { BlankEnv } from "hono/types";
import type { EngineStores } from "../../core/engines/stores.ts";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import type { PayloadCodec } from "../../core/operations/payload-codec.ts";
import type { ContentCheck } from "../../registry/packages/package-content.ts";
import type { SignatureCheck } from "../../registry/packages/package-signature.ts";
import { createAuthFailureLimiter } from "../auth/auth-failure-limiter.ts";
import { readingCallOf } from "../auth/call.ts";
import type { Caller } from "../auth/key-ring.ts";
import type {
  FilePorts,
  HttpSettings,
  ModelPorts,
  OperationPorts,
  OwnerPorts,
  PipelinePorts,
  RequestPorts,
  WebhookPorts,
} from "../dependencies.ts";
import { addHealthRoutes } from "../health/routes.ts";
import { answerJson } from "../http/answer-json.ts";
import { createCallLimiter } from "../limits/call-limiter.ts";
import type { IdempotentWrite } from "../requests/idempotent-write.ts";
import { errorReply } from "./http/error-reply.ts";
import { createAddRoute } from "./http/route.ts";
import { addEngineRoutes } from "./routes/engines/engines.ts";
import { addQuarantineRoutes } from "./routes/engines/quarantines.ts";
import { addWorkerRoutes } from "./routes/engines/workers.ts";
import { addStorageRoutes } from "./routes/files/storage.ts";
import { addAppRoutes } from "./routes/models/apps.ts";
import { addFlagRoutes } from "./routes/models/flags.ts";
import { addModelRoutes } from "./routes/models/models.ts";
import { addPricingRoutes } from "./routes/models/pricing.ts";
import { addRegistryRoutes } from "./routes/models/registry.ts";
import { addRolloutRoutes } from "./routes/models/rollouts.ts";
import { addAuditRoutes } from "./routes/operations/audit.ts";
import { addCodecRoutes, CODEC_PATH, codecForBrowsers } from "./routes/operations/codec.ts";
import { addMetaRoutes } from "./routes/operations/meta.ts";
import { addNotImplementedRoutes } from "./routes/operations/not-implemented.ts";
import { addRetentionRoutes } from "./routes/operations/retention.ts";
import { addKeyRoutes } from "./routes/owners/keys.ts";
import { addOwnerRoutes } from "./routes/owners/owners.ts";
import { addPlanRoutes } from "./routes/owners/plans.ts";
import { addUsageRoutes } from "./routes/owners/usage.ts";
import { addWorkflowRoutes } from "./routes/pipelines/workflows.ts";
import { addDeadLetterRoutes } from "./routes/requests/dead-letters.ts";
import { addLogRoutes } from "./routes/requests/logs.ts";
import { addPayloadRoutes } from "./routes/requests/payloads.ts";
import { addQueueRoutes } from "./routes/requests/queues.ts";
import { addRequestRoutes } from "./routes/requests/requests.ts";
import { addDeliveryRoutes } from "./routes/webhooks/deliveries.ts";
import { addSigningKeyRoutes } from "./routes/webhooks/signing-keys.ts";

/** The dependencies of the admin service's routes. */
export type AdminDependencies = Omit<RequestPorts, "claims" | "sessions" | "frames" | "withdrawJob"> &
  Omit<ModelPorts, "flags"> &
  Omit<PipelinePorts, "pipelineRuns" | "findPipeline"> &
  Omit<FilePorts, "storageDefaults"> &
  Omit<OwnerPorts, "tokens" | "slots"> &
  EngineStores &
  WebhookPorts &
  OperationPorts &
  Pick<HttpSettings, "publicUrl" | "filesUrl" | "outputUrls" | "trustProxy"> & {
    /** Checks a model package that is pushed. */
    checkPackage: ContentCheck;
    /** Absent: packages need no signature. */
    checkSignature?: SignatureCheck | undefined;
    /** Crashes of one owner and model version from which on GPU workers refuse all its requests. */
    crashesOfOwnerMax: number;
    /** The IP address ranges that webhooks come from, which receivers may allow. */
    webhookSources: string[];
    /** Encrypts and decrypts the payloads that Temporal stores. */
    payloadCodec: PayloadCodec;
    /** The origins of the Temporal UI, whose pages may call the codec server. */
    temporalUiOrigins: readonly string[];
    /** Makes a change once per idempotency key. */
    idempotentWrite: IdempotentWrite;
  };

/**
 * Creates the HTTP service of the admin role (contract §10) from the routes of all resources. `http/route.ts`
 * explains how a route is added.
 */
export function createAdmin(api: AdminDependencies): OpenAPIHono<BlankEnv> {
  const app = new OpenAPIHono<BlankEnv>({ strict: false });
  app.use(`${CODEC_PATH}/*`, codecForBrowsers(api.temporalUiOrigins));
  app.use(createAuthFailureLimiter({ trustProxy: api.trustProxy === true, failures: api.authFailures }));
  app.use(createCallLimiter(api, callerOfApiKey(api)));
  const addRoute = createAddRoute(app, api);
  addMetaRoutes(addRoute, api);
  addModelRoutes(addRoute, api);
  addRegistryRoutes(addRoute, api);
  addRolloutRoutes(addRoute, api);
  addFlagRoutes(addRoute, api);
  addPricingRoutes(addRoute, api);
  addRequestRoutes(addRoute, api);
  addPayloadRoutes(addRoute, api);
  addKeyRoutes(addRoute, api);
  addPlanRoutes(addRoute, api);
  addAppRoutes(addRoute, api);
  addQueueRoutes(addRoute, api);
  addWorkflowRoutes(addRoute, api);
  addStorageRoutes(addRoute, api);
  addOwnerRoutes(addRoute, api);
  addEngineRoutes(addRoute, api);
  addQuarantineRoutes(addRoute, api);
  addWorkerRoutes(addRoute, api);
  addDeliveryRoutes(addRoute, api);
  addDeadLetterRoutes(addRoute, api);
  addSigningKeyRoutes(addRoute, api);
  addAuditRoutes(addRoute, api);
  addUsageRoutes(addRoute, api);
  addRetentionRoutes(addRoute, api);
  addLogRoutes(addRoute, api);
  addCodecRoutes(addRoute, api);
  // Comes last: it adds those of fal's calls that have no route yet.
  addNotImplementedRoutes(addRoute, (method, path) => isDocumented(app, method, path));

  app.get("/v1/openapi.json", (c) => answerJson(c, openapiOf(app)));
  addHealthRoutes(app, api);
  for (const [path, methods] of methodsByPath(app)) {
    const allow = methods.join(", ");
    app.all(path, (c) =>
      errorReply(c, new TemperaError("method_not_allowed"), { log: api.log, headers: { allow } }),
    );
  }
  app.notFound((c) =>
    errorReply(c, new TemperaError("path_unknown", `Path ${c.req.path.slice(0, 200)} not found`), api),
  );
  app.onError((error, c) => errorReply(c, error, api));
  return app;
}

/** Finds the callers whose writing calls are limited: those with keys of scope API. Operators are not. */
function callerOfApiKey({ keyRing }: Pick<AdminDependencies, "keyRing">) {
  return async (c: Context): Promise<Caller | undefined> => {
    const caller = await keyRing
      .authenticate(c.req.header("authorization"), readingCallOf(c))
      .catch((error) => {
        if (!isTemperaError(error)) throw error;
        return undefined; // the route refuses it
      });
    return caller?.scope === "ADMIN" ? undefined : caller;
  };
}

/** Returns true if the OpenAPI document has the route. */
const isDocumented = (app: OpenAPIHono<BlankEnv>, method: string, path: string): boolean =>
  app.openAPIRegistry.definitions.some(
    (each) => each.type === "route" && each.route.method === method && each.route.path === path,
  );

const methodsByPath = (app: OpenAPIHono<BlankEnv>): Map<string, string[]> => {
  const methods = new Map<string, string[]>();
  for (const { path, method } of app.routes.filter(({ method }) => method !== "ALL"))
    methods.set(path, [...(methods.get(path) ?? []), method, ...(method === "GET" ? ["HEAD"] : [])]);
  return methods;
};

/** Returns the OpenAPI document of the admin service: the text of `schemas/admin/openapi.json`. */
export function adminOpenapi(): string {
  // The routes are only added, never called, so they need no dependencies.
  const app = createAdmin({} as AdminDependencies);
  return `${JSON.stringify(openapiOf(app), null, 2)}\n`;
}

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
      description: "fal's Platform API (https://docs.fal.ai) and Tempera's own operations.",
    },
    servers: [{ url: "http://localhost:8081" }],
  });
}
