/**
 * Every setting of the program: where it stands in `tempera.yaml`, the environment variable that overrides it, what it
 * means. `docs/configuration.md` equals this table (tested).
 */
import { z } from "zod";

export interface Setting<T> {
  env: string;
  schema: z.ZodType<T>;
  default: T;
  says: string;
  /** Never printed. */
  secret?: true;
}

const setting = <T>(
  env: string,
  schema: z.ZodType<T>,
  fallback: NoInfer<T>,
  says: string,
  options: { secret?: true } = {},
): Setting<T> => ({
  env,
  schema,
  default: fallback,
  says,
  ...options,
});

/** A number, or the decimal text of one as the environment gives it. Nothing else is made into a number: not true, not " ". */
const number = <S extends z.ZodNumber>(schema: S) =>
  z.preprocess((value) => (typeof value === "string" && /^\s*-?\d+(\.\d+)?\s*$/.test(value) ? Number(value) : value), schema);

const port = number(z.number().int().min(0).max(65_535));
const text = z.string().min(1);
const maybe = z.string().min(1).optional();
const url = (...protocols: string[]) =>
  z
    .string()
    .refine((value) => URL.canParse(value) && protocols.includes(new URL(value).protocol), {
      message: `must be a URL with ${protocols.map((protocol) => `${protocol}//`).join(" or ")}`,
    })
    .optional();

export const SETTINGS = {
  server: {
    host: setting("TEMPERA_HOST", text, "127.0.0.1", "Address the gateway and the admin service listen on; `0.0.0.0` for all."),
    port: setting("TEMPERA_PORT", port, 8080, "Port of the gateway."),
    adminPort: setting("TEMPERA_ADMIN_PORT", port, 8081, "Port of the admin service."),
    publicUrl: setting(
      "TEMPERA_PUBLIC_URL",
      url("http:", "https:"),
      undefined,
      "Base of the addresses in answers and of artifacts, when clients reach the gateway by another name. Default: what the caller used; for artifacts `http://localhost:<port>`.",
    ),
    bodyBytesMax: setting(
      "TEMPERA_BODY_BYTES_MAX",
      number(z.number().int().min(1024).max(1_073_741_824)),
      33_554_432,
      "Largest request body, in bytes.",
    ),
  },
  folders: {
    data: setting(
      "TEMPERA_DATA",
      text,
      ".tempera",
      "Where the embedded default keeps its state: Temporal, PostgreSQL, files, the first key.",
    ),
    models: setting("TEMPERA_MODELS", text, "models", "Model packages."),
    schemas: setting("TEMPERA_SCHEMAS", text, "schemas", "Their JSON Schemas and the manifest's."),
  },
  temporal: {
    address: setting("TEMPORAL_ADDRESS", maybe, undefined, "`host:port` of Temporal. Default: an embedded server."),
    namespace: setting("TEMPORAL_NAMESPACE", text, "tempera", "Temporal namespace; made when it does not exist."),
    port: setting("TEMPERA_TEMPORAL_PORT", port, 7233, "Port of the embedded Temporal."),
    uiPort: setting("TEMPERA_TEMPORAL_UI_PORT", port, 8233, "Port of the embedded Temporal's UI."),
  },
  postgres: {
    url: setting("DATABASE_URL", url("postgres:", "postgresql:"), undefined, "PostgreSQL. Default: an embedded one.", { secret: true }),
    port: setting("TEMPERA_POSTGRES_PORT", port, 54_329, "Port of the embedded PostgreSQL."),
    connectionsMax: setting(
      "TEMPERA_POSTGRES_CONNECTIONS",
      number(z.number().int().min(1).max(500)),
      10,
      "Connections each process keeps.",
    ),
  },
  redis: {
    url: setting(
      "REDIS_URL",
      url("redis:", "rediss:"),
      undefined,
      "Redis, for the event log. Default: kept in memory, which only a single process can use.",
      { secret: true },
    ),
    prefix: setting("TEMPERA_REDIS_PREFIX", text, "tempera:", "What every key begins with."),
  },
  objects: {
    endpoint: setting("S3_ENDPOINT", url("http:", "https:"), undefined, "S3-compatible object store. Default: files in the data folder."),
    bucket: setting("S3_BUCKET", text, "tempera", "Bucket; made when it does not exist."),
    region: setting("S3_REGION", text, "us-east-1", "Region of the bucket."),
    accessKey: setting("S3_ACCESS_KEY", maybe, undefined, "Access key of the object store.", { secret: true }),
    secretKey: setting("S3_SECRET_KEY", maybe, undefined, "Secret key of the object store.", { secret: true }),
  },
  keys: {
    admin: setting(
      "TEMPERA_ADMIN_KEY",
      z
        .string()
        .regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:\S{16,}$/i, "must be <uuid>:<secret of 16 characters or more>")
        .optional(),
      undefined,
      "A key of scope ADMIN that is made at start when it does not exist: how a fresh deployment gets its first key. The embedded default makes one itself.",
      { secret: true },
    ),
  },
  worker: {
    name: setting(
      "TEMPERA_WORKER_NAME",
      maybe,
      undefined,
      "How a GPU worker calls itself in events and in the Temporal UI. Default: host name and process id.",
    ),
    models: setting(
      "TEMPERA_WORKER_MODELS",
      maybe,
      undefined,
      "Comma-separated endpoints this GPU worker serves. Default: all in the models folder.",
    ),
    graceSeconds: setting(
      "TEMPERA_GRACE_SECONDS",
      number(z.number().min(0).max(86_400)),
      10,
      "How long running work may go on after SIGTERM before it is handed back to be tried elsewhere.",
    ),
  },
  log: {
    level: setting("TEMPERA_LOG_LEVEL", z.enum(["debug", "info", "warn", "error", "silent"]), "info", "Least severe line that is logged."),
    format: setting("TEMPERA_LOG_FORMAT", z.enum(["text", "json"]), "text", "Lines for people, or one JSON object each."),
  },
} as const;

export type Config = {
  [Group in keyof typeof SETTINGS]: {
    [Name in keyof (typeof SETTINGS)[Group]]: (typeof SETTINGS)[Group][Name] extends Setting<infer T> ? T : never;
  };
};

/** Names the file; it cannot itself stand in the file. */
export const CONFIG_FILE_ENV = "TEMPERA_CONFIG";
