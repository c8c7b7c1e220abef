/**
 * Every setting of the program: where it stands in a configuration file, the environment variable that
 * overrides it, what it means and why its default is what it is. `docs/configuration.md` equals this table
 * (tested).
 */
import { z } from "zod";
import { parseAllowedPrivate } from "../core/operations/address-policy.ts";
import { parsePayloadKeys } from "../core/operations/payload-keys.ts";

export interface Setting<T> {
  env: string;
  schema: z.ZodType<T>;
  default: T;
  says: string;
  /** What a number counts. */
  unit?: string;
  /**
   * Never printed. It may be handed over as a file: `<variable>_FILE`, or `{ file: <path> }` in a
   * configuration file.
   */
  secret?: true;
  /** A change of the configuration file is in effect at once; the others need a restart. */
  live?: true;
}

const setting = <T>(
  env: string,
  schema: z.ZodType<T>,
  fallback: NoInfer<T>,
  says: string,
  options: Pick<Setting<T>, "unit" | "secret" | "live"> = {},
): Setting<T> => ({
  env,
  schema,
  default: fallback,
  says,
  ...options,
});

/**
 * A number, or the decimal text of one as the environment gives it. Nothing else is made into a number: not
 * true, not " ".
 */
const number = <S extends z.ZodNumber>(schema: S) =>
  z.preprocess(
    (value) => (typeof value === "string" && /^\s*-?\d+(\.\d+)?\s*$/.test(value) ? Number(value) : value),
    schema,
  );

/** `true`, or one of the words by which the environment says it. */
const flag = z.preprocess(
  (value) => (value === "1" || value === "true" ? true : value === "0" || value === "false" ? false : value),
  z.boolean("must be true or false"),
);

/** Seconds, as a list or as text with commas between them. */
const seconds = z.preprocess(
  (value) =>
    typeof value === "string"
      ? value.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)))
      : value,
  z.array(z.number("must be numbers of seconds with commas between them").min(0).max(86_400)).max(50),
);
/** Text that a parser of its own takes; what that parser says becomes the fault. */
const textThat = (parse: (value: string) => unknown) =>
  z
    .string()
    .superRefine((value, check) => {
      try {
        parse(value);
      } catch (error) {
        check.addIssue({ code: "custom", message: (error as Error).message });
      }
    })
    .optional();
const addressRanges = textThat(parseAllowedPrivate);
const peppers = textThat((value) => {
  if (value.split(",").some((pepper) => pepper.trim().length < 16))
    throw new Error("must be secrets of 16 characters or more, with commas between them");
});

/** Days, fractions allowed, or `never`. */
const days = (least: number) =>
  z.union(
    [z.literal("never"), number(z.number().min(least).max(36_500))],
    `must be a number of days from ${least} to 36500, or never`,
  );

const port = number(z.number().int().min(0).max(65_535));
const text = z.string().min(1);
const maybe = z.string().min(1).optional();
const url = (...protocols: string[]) =>
  z
    .string()
    .refine((value) => URL.canParse(value) && protocols.includes(new URL(value).protocol), {
      message: `must be a URL with ${protocols.map((protocol) => `${protocol}//`).join(" or ")}`,
      abort: true,
    })
    .refine(isDecodable, {
      message: "has a % in its user or password that is not percent-encoded; write %25",
    })
    .optional();

/** Whether the user and the password of an address can be read: `%` stands before two hex digits only. */
function isDecodable(value: string): boolean {
  const { username, password } = new URL(value);
  try {
    decodeURIComponent(`${username}:${password}`);
    return true;
  } catch {
    return false;
  }
}

/** TLS towards one service: the same four settings for each. Setting any of them, or `tls`, turns TLS on. */
const serviceTls = (
  service: string,
  names: { tls: string; ca: string; cert: string; key: string; serverName: string },
) => ({
  tls: setting(
    names.tls,
    flag,
    false,
    `Speak TLS with ${service}. Any of the four settings below does so too, and so does an address that says it.`,
  ),
  tlsCa: setting(
    names.ca,
    maybe,
    undefined,
    `Authorities that ${service}'s certificate may come from, a PEM file. Default: those that Node.js trusts.`,
  ),
  tlsCert: setting(
    names.cert,
    maybe,
    undefined,
    `Certificate to show to ${service} (mutual TLS), a PEM file.`,
  ),
  tlsKey: setting(names.key, maybe, undefined, "Private key of that certificate, a PEM file."),
  tlsServerName: setting(
    names.serverName,
    maybe,
    undefined,
    `Name that ${service}'s certificate must carry, where that is not the host of its address.`,
  ),
});
const tempered = (service: string) => ({
  tls: `TEMPERA_${service}_TLS`,
  ca: `TEMPERA_${service}_TLS_CA`,
  cert: `TEMPERA_${service}_TLS_CERT`,
  key: `TEMPERA_${service}_TLS_KEY`,
  serverName: `TEMPERA_${service}_TLS_SERVER_NAME`,
});

export const SETTINGS = {
  server: {
    host: setting(
      "TEMPERA_HOST",
      text,
      "127.0.0.1",
      "Address the gateway and the admin service listen on; `0.0.0.0` for all. By default nothing outside this machine reaches them.",
    ),
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
      "Largest request body. fal takes data URIs of 10 MB and more; 32 MiB leaves room and bounds what one connection can hold in memory.",
      { unit: "bytes" },
    ),
    runsMax: setting(
      "TEMPERA_RUNS_MAX",
      number(z.number().int().min(1).max(100_000)),
      1000,
      "Sync runs and streams that one owner may have open at one gateway; more are answered 429. As many HTTP-over-WebSocket sockets; more are closed with 1013. Each holds a connection; a thousand fit in a gateway beside the others.",
      { unit: "runs", live: true },
    ),
    trustProxy: setting(
      "TEMPERA_TRUST_PROXY",
      flag,
      false,
      "Believe `X-Forwarded-Proto` and `X-Forwarded-Host`. Only behind a proxy that sets both and that nobody can go around.",
    ),
  },
  tls: {
    enabled: setting(
      "TEMPERA_TLS",
      flag,
      false,
      "Serve the gateway over HTTPS too, beside HTTP; `npm start -- --tls` is the same.",
    ),
    port: setting("TEMPERA_TLS_PORT", port, 8443, "Port of the gateway's HTTPS."),
    cert: setting(
      "TEMPERA_TLS_CERT",
      maybe,
      undefined,
      "Certificate chain, a PEM file. Default: one for fal's host names, by a local authority that is kept in the data folder.",
    ),
    key: setting("TEMPERA_TLS_KEY", maybe, undefined, "Private key of that certificate, a PEM file."),
    names: setting(
      "TEMPERA_TLS_NAMES",
      maybe,
      undefined,
      "Comma-separated host names and addresses that the local authority's certificate also names.",
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
    weights: setting(
      "TEMPERA_WEIGHTS",
      maybe,
      undefined,
      "Where GPU workers keep the weights of pushed models. Default: `weights` in the data folder.",
    ),
    schemas: setting("TEMPERA_SCHEMAS", text, "schemas", "Their JSON Schemas and the manifest's."),
  },
  temporal: {
    address: setting(
      "TEMPORAL_ADDRESS",
      maybe,
      undefined,
      "`host:port` of Temporal. Default: an embedded server.",
    ),
    namespace: setting(
      "TEMPORAL_NAMESPACE",
      text,
      "tempera",
      "Temporal namespace; made when it does not exist.",
    ),
    port: setting("TEMPERA_TEMPORAL_PORT", port, 7233, "Port of the embedded Temporal."),
    uiPort: setting("TEMPERA_TEMPORAL_UI_PORT", port, 8233, "Port of the embedded Temporal's UI."),
    uiOrigin: setting(
      "TEMPERA_TEMPORAL_UI_ORIGIN",
      url("http:", "https:"),
      undefined,
      "Where the Temporal UI is opened, such as `https://temporal.example.com`: that page may ask the codec endpoint. Default: the embedded UI.",
    ),
    workflowThread: setting(
      "TEMPERA_TEMPORAL_WORKFLOW_THREAD",
      z.enum(["lean", "sdk"], "must be lean or sdk"),
      "lean",
      "Thread that runs workflow code: `lean`, at half the cost, or `sdk`, Temporal's own. " +
        "With another version of Temporal's SDK than `lean` was written for, it is `sdk`, with a warning.",
    ),
    payloadKeys: setting(
      "TEMPERA_PAYLOAD_KEYS",
      textThat(parsePayloadKeys),
      undefined,
      "Keys that encrypt what Temporal stores: `<id>:<32 bytes in base64>` with commas between them. The first encrypts, all decrypt; `off` in its place only decrypts. Default: nothing is encrypted.",
      { secret: true },
    ),
    ...serviceTls("Temporal", {
      tls: "TEMPORAL_TLS",
      ca: "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
      cert: "TEMPORAL_TLS_CLIENT_CERT_PATH",
      key: "TEMPORAL_TLS_CLIENT_KEY_PATH",
      serverName: "TEMPORAL_TLS_SERVER_NAME",
    }),
  },
  postgres: {
    url: setting(
      "DATABASE_URL",
      url("postgres:", "postgresql:"),
      undefined,
      "PostgreSQL. Default: an embedded one.",
      { secret: true },
    ),
    port: setting("TEMPERA_POSTGRES_PORT", port, 54_329, "Port of the embedded PostgreSQL."),
    connectionsMax: setting(
      "TEMPERA_POSTGRES_CONNECTIONS",
      number(z.number().int().min(1).max(500)),
      10,
      "Connections each process keeps. Ten keep a gateway busy; PostgreSQL allows 100 in all unless it is told otherwise.",
      { unit: "connections" },
    ),
    ...serviceTls("PostgreSQL", tempered("POSTGRES")),
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
    ...serviceTls("Redis", tempered("REDIS")),
  },
  objects: {
    endpoint: setting(
      "S3_ENDPOINT",
      url("http:", "https:"),
      undefined,
      "S3-compatible object store. Default: files in the data folder.",
    ),
    bucket: setting("S3_BUCKET", text, "tempera", "Bucket; made when it does not exist."),
    region: setting("S3_REGION", text, "us-east-1", "Region of the bucket."),
    accessKey: setting("S3_ACCESS_KEY", maybe, undefined, "Access key of the object store.", {
      secret: true,
    }),
    secretKey: setting("S3_SECRET_KEY", maybe, undefined, "Secret key of the object store.", {
      secret: true,
    }),
    ...serviceTls("the object store", tempered("S3")),
  },
  keys: {
    admin: setting(
      "TEMPERA_ADMIN_KEY",
      z
        .string()
        .regex(
          /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:\S{16,}$/i,
          "must be <uuid>:<secret of 16 characters or more>",
        )
        .optional(),
      undefined,
      "A key of scope ADMIN that is made at start when it does not exist: how a fresh deployment gets its first key. The embedded default makes one itself.",
      { secret: true },
    ),
    pepper: setting(
      "TEMPERA_KEY_PEPPER",
      peppers,
      undefined,
      "What the secrets of keys are hashed with, kept outside the database: one who reads the database cannot make a key. Secrets of 16 characters or more with commas between them: the first hashes, all are recognised, and a key is hashed anew when it is used. Default: one that is kept in the database, which protects a leaked table only.",
      { secret: true },
    ),
  },
  pipelines: {
    cacheSeconds: setting(
      "TEMPERA_NODE_CACHE_SECONDS",
      number(
        z
          .number()
          .int()
          .min(0)
          .max(365 * 24 * 3600),
      ),
      7 * 24 * 3600,
      "How long the result of a pipeline's node is reused for the same owner and the same input, unless its files end sooner. 0: never.",
      { unit: "s" },
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
    device: setting(
      "TEMPERA_WORKER_DEVICE",
      z.string().regex(/^(cpu|(cuda|tensorrt):\d{1,3})$/, "must be cpu, cuda:<n> or tensorrt:<n>"),
      "cpu",
      "The device of this GPU worker's engines: `cpu`, `cuda:0` for the first GPU, `tensorrt:0` for the same through TensorRT.",
    ),
    memoryMiB: setting(
      "TEMPERA_WORKER_MEMORY_MIB",
      number(z.number().int().min(1).max(1_000_000_000)).optional(),
      undefined,
      "What its engines may hold together, in MiB. Default: three quarters of the host's memory (of the container's, where that is less), or nine tenths of the GPU's.",
      { unit: "MiB" },
    ),
    graceSeconds: setting(
      "TEMPERA_GRACE_SECONDS",
      number(z.number().min(0).max(86_400)),
      10,
      "How long running work may go on after SIGTERM before it is handed back to be tried elsewhere. Schedulers kill after 30 s by default.",
      { unit: "s" },
    ),
  },
  webhooks: {
    delays: setting(
      "TEMPERA_WEBHOOK_DELAYS",
      seconds,
      [5, 15, 45, 120, 300, 600, 1200, 1800, 2700],
      "Seconds between the attempts of a delivery; there is one attempt more than pauses. The default is ten attempts within two hours.",
      { unit: "s", live: true },
    ),
    timeoutSeconds: setting(
      "TEMPERA_WEBHOOK_TIMEOUT",
      number(z.number().min(0.1).max(120)),
      15,
      "Longest time a receiver may take to answer one attempt. fal gives 15 s.",
      { unit: "s", live: true },
    ),
  },
  outbound: {
    sources: setting(
      "TEMPERA_OUTBOUND_SOURCES",
      addressRanges,
      undefined,
      "Comma-separated addresses and ranges that deliveries come from, as receivers see them; `/v1/meta` tells them. Default: none are told.",
    ),
    privateAddresses: setting(
      "TEMPERA_ALLOW_PRIVATE_ADDRESSES",
      addressRanges,
      undefined,
      "Addresses beside the public Internet that webhooks and input files may lead to: comma-separated addresses and ranges such as `10.0.0.0/8, ::1`, or `all`. Default: none.",
    ),
  },
  retention: {
    requestDays: setting(
      "TEMPERA_RETENTION_REQUEST_DAYS",
      days(0.01),
      90,
      "How long the record of a request is kept after its end, in days; `never` deletes it never. Its dead letter and delivery go with it.",
      { unit: "d" },
    ),
    payloadDays: setting(
      "TEMPERA_RETENTION_PAYLOAD_DAYS",
      days(0.01),
      30,
      "How long its input and output are kept, in days; at most as long as the record.",
      { unit: "d" },
    ),
    logDays: setting(
      "TEMPERA_RETENTION_LOG_DAYS",
      days(0.01),
      30,
      "How long its log lines are kept, in days; at most as long as the record.",
      { unit: "d" },
    ),
    artifactDays: setting(
      "TEMPERA_RETENTION_ARTIFACT_DAYS",
      days(0.001),
      "never",
      "How long produced files are kept, in days, when their caller does not say.",
      { unit: "d" },
    ),
    uploadDays: setting(
      "TEMPERA_RETENTION_UPLOAD_DAYS",
      days(0.001),
      "never",
      "How long uploaded files are kept, in days, when their caller does not say.",
      { unit: "d" },
    ),
    usageDays: setting(
      "TEMPERA_RETENTION_USAGE_DAYS",
      days(35),
      "never",
      "How long entries of the usage ledger are kept, in days.",
      {
        unit: "d",
      },
    ),
    everySeconds: setting(
      "TEMPERA_RETENTION_EVERY_SECONDS",
      number(z.number().int().min(1).max(86_400)),
      300,
      "How often what has lived its time is deleted. It is not shown from that time on, deleted or not.",
      { unit: "s" },
    ),
  },
  logSearch: {
    url: setting(
      "TEMPERA_LOG_SEARCH_URL",
      url("http:", "https:"),
      undefined,
      "Elasticsearch or OpenSearch, for the search in log lines; user and password in the address. Default: PostgreSQL's full text search.",
      { secret: true },
    ),
    index: setting(
      "TEMPERA_LOG_SEARCH_INDEX",
      z
        .string()
        .regex(
          /^[a-z0-9][a-z0-9._-]{0,99}$/,
          "must be 1 to 100 small letters, digits, dots, dashes and underscores",
        ),
      "tempera-logs",
      "Its index; made when it does not exist.",
    ),
  },
  realtime: {
    idleSeconds: setting(
      "TEMPERA_REALTIME_IDLE_SECONDS",
      number(z.number().min(0.1).max(86_400)),
      60,
      "A realtime socket without inputs and outputs for this long is closed; clients connect again when they have one.",
      { unit: "s", live: true },
    ),
    socketsMax: setting(
      "TEMPERA_SOCKETS_MAX",
      number(z.number().int().min(1).max(100_000)),
      1000,
      "WebSockets that one gateway holds open; each may hold 300 KiB.",
      { unit: "sockets", live: true },
    ),
    sessionsMax: setting(
      "TEMPERA_SESSIONS_MAX",
      number(z.number().int().min(1).max(100_000)),
      32,
      "Realtime sessions that one owner may have open at one gateway; each holds a slot of an engine. One more is told so and closed.",
      { unit: "sessions", live: true },
    ),
  },
  log: {
    level: setting(
      "TEMPERA_LOG_LEVEL",
      z.enum(["debug", "info", "warn", "error", "silent"]),
      "info",
      "Least severe line that is logged: `debug`, `info`, `warn`, `error` or `silent`.",
      { live: true },
    ),
    format: setting(
      "TEMPERA_LOG_FORMAT",
      z.enum(["text", "json"]),
      "text",
      "Lines for people, or one JSON object each.",
    ),
  },
} as const;

export type Config = {
  [Group in keyof typeof SETTINGS]: {
    [Name in keyof (typeof SETTINGS)[Group]]: (typeof SETTINGS)[Group][Name] extends Setting<infer T>
      ? T
      : never;
  };
};

/** Names the file, or the folder of files; it cannot itself stand in one. */
export const CONFIG_FILE_ENV = "TEMPERA_CONFIG";
