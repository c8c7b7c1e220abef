/**
 * Defines every setting of the program: its group and name in a configuration file, the environment variable
 * that overrides it, its meaning and the reason for its default. `docs/configuration.md` equals this table
 * (tested).
 */
import { z } from "zod";
import { ISOLATIONS } from "../core/engines/configured-engine.ts";
import { parseEngineEnvironment } from "../core/engines/engine-environment.ts";
import { LIMITS } from "../core/limits.ts";
import { parseTrustedKeys } from "../core/models/trusted-keys.ts";
import { parseAllowedPrivate } from "../core/operations/address-policy.ts";
import { PAYLOAD_BINDINGS, parsePayloadKeys } from "../core/operations/payload-keys.ts";
import { engineProgramsSchema } from "./engine-programs.ts";

export interface Setting<T> {
  env: string;
  schema: z.ZodType<T>;
  default: T;
  description: string;
  /** Unit of a number. */
  unit?: string;
  /** The value is never printed. It may be given as a file, as with `fromFile`. */
  secret?: true;
  /** The value may be given as a file: `<variable>_FILE`, or `{ file: <path> }` in a configuration file. */
  fromFile?: true;
  /** A change in a configuration file takes effect at once; a setting without this mark needs a restart. */
  live?: true;
  /** A mapping: what a later file has is added to what a former one has, by name. */
  joined?: true;
}

const setting = <T>(
  env: string,
  schema: z.ZodType<T>,
  fallback: NoInfer<T>,
  description: string,
  options: Pick<Setting<T>, "unit" | "secret" | "fromFile" | "live" | "joined"> = {},
): Setting<T> => ({
  env,
  schema,
  default: fallback,
  description,
  ...options,
});

/**
 * Accepts a number, or its decimal text as the environment gives it. Nothing else is converted to a number:
 * neither `true` nor " ".
 */
const number = <S extends z.ZodNumber>(schema: S) =>
  z.preprocess(
    (value) => (typeof value === "string" && /^\s*-?\d+(\.\d+)?\s*$/.test(value) ? Number(value) : value),
    schema,
  );

/** Accepts a boolean, or its text as the environment gives it: `true`, `false`, `1` or `0`. */
const flag = z.preprocess(
  (value) => (value === "1" || value === "true" ? true : value === "0" || value === "false" ? false : value),
  z.boolean("must be true or false"),
);

/** Accepts seconds, as a list or as text with commas between them. */
const seconds = z.preprocess(
  (value) =>
    typeof value === "string"
      ? value.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)))
      : value,
  z.array(z.number("must be numbers of seconds with commas between them").min(0).max(86_400)).max(50),
);
/** Accepts text that `parse` takes. The message of an error that `parse` throws becomes the fault. */
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
const engineEnvironment = textThat(parseEngineEnvironment);
const trustedKeys = textThat(parseTrustedKeys);
const peppers = textThat((value) => {
  if (value.split(",").some((pepper) => pepper.trim().length < 16))
    throw new Error("must be secrets of 16 characters or more, with commas between them");
});

/** Accepts days, fractions allowed, or `never`. */
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

/** Tells whether user and password of an address can be decoded: two hex digits follow each `%`. */
function isDecodable(value: string): boolean {
  const { username, password } = new URL(value);
  try {
    decodeURIComponent(`${username}:${password}`);
    return true;
  } catch {
    return false;
  }
}

/** Defines the settings of TLS towards one service, the same five for each. Any of them turns TLS on. */
const serviceTls = (
  service: string,
  names: { tls: string; ca: string; cert: string; key: string; serverName: string },
) => ({
  tls: setting(
    names.tls,
    flag,
    false,
    `Connect to ${service} over TLS. Any of the four settings below turns it on too, ` +
      "and so does an address whose scheme says so.",
  ),
  tlsCa: setting(
    names.ca,
    maybe,
    undefined,
    `PEM file of the authorities that may sign the certificate of ${service}. ` +
      "Default: the authorities that Node.js trusts.",
  ),
  tlsCert: setting(
    names.cert,
    maybe,
    undefined,
    `PEM file of the certificate to present to ${service} (mutual TLS).`,
  ),
  tlsKey: setting(names.key, maybe, undefined, "PEM file of the private key of that certificate."),
  tlsServerName: setting(
    names.serverName,
    maybe,
    undefined,
    `Name that the certificate of ${service} must carry, if it is not the host of the address.`,
  ),
});
const temperaTlsVariables = (service: string) => ({
  tls: `TEMPERA_${service}_TLS`,
  ca: `TEMPERA_${service}_TLS_CA`,
  cert: `TEMPERA_${service}_TLS_CERT`,
  key: `TEMPERA_${service}_TLS_KEY`,
  serverName: `TEMPERA_${service}_TLS_SERVER_NAME`,
});

/** The sentence of each port that may be any free one, since only the platform itself connects to it. */
const GIVES_WAY = "If the default is in use, a free one is taken and kept in the data folder.";

export const SETTINGS = {
  server: {
    host: setting(
      "TEMPERA_HOST",
      text,
      "127.0.0.1",
      "Address that the gateway and the admin service listen on; `0.0.0.0` for all. " +
        "By default, nothing outside this machine can reach them.",
    ),
    port: setting("TEMPERA_PORT", port, 8080, "Port of the gateway."),
    adminPort: setting("TEMPERA_ADMIN_PORT", port, 8081, "Port of the admin service."),
    healthPort: setting(
      "TEMPERA_HEALTH_PORT",
      port.optional(),
      undefined,
      "Port on which the process of one role serves `/health`, until it ends. " +
        "Default: 8082 for an orchestrator and 8083 for a GPU worker, or the next port that is free. " +
        "A gateway and an admin service always serve it on their own port, and on this one too if it is set.",
    ),
    publicUrl: setting(
      "TEMPERA_PUBLIC_URL",
      url("http:", "https:"),
      undefined,
      "Base of the URLs in responses and of artifacts, if clients reach the gateway by another name. " +
        "Default: the base that the caller used; for artifacts `http://localhost:<port>`.",
    ),
    filesUrl: setting(
      "TEMPERA_FILES_URL",
      url("http:", "https:"),
      undefined,
      "Base of the URLs of files, on a host name of their own that leads to the same gateway: " +
        "`https://files.example.com`. Files come from strangers, and a page of that host cannot call the API. " +
        "Recommended where others reach the gateway. Default: the base of all other URLs.",
    ),
    fileUrlSeconds: setting(
      "TEMPERA_FILE_URL_SECONDS",
      number(z.number().int().min(60).max(LIMITS.signedAddressSecondsMax)),
      3600,
      "Time that the signed URLs of private files in answers and webhooks are valid. " +
        "A result that is read again has fresh ones.",
      { unit: "seconds", live: true },
    ),
    bodyBytesMax: setting(
      "TEMPERA_BODY_BYTES_MAX",
      number(z.number().int().min(1024).max(1_073_741_824)),
      33_554_432,
      "Largest request body. fal accepts data URIs of 10 MB and more; 32 MiB allows them " +
        "and bounds the memory that one connection can hold.",
      { unit: "bytes" },
    ),
    runsMax: setting(
      "TEMPERA_RUNS_MAX",
      number(z.number().int().min(1).max(100_000)),
      1000,
      "Runs, streams, status streams, uploads and large results that one owner may have open at one " +
        "gateway; further ones get 429. A quarter of `server.openCallsMax`, so that others are served " +
        "beside it.",
      { unit: "runs", live: true },
    ),
    openCallsMax: setting(
      "TEMPERA_OPEN_CALLS_MAX",
      number(z.number().int().min(1).max(1_000_000)),
      4000,
      "Runs, streams, status streams, uploads and large results that one gateway holds open, of all " +
        "owners; further ones get 503. Each has a connection, and a descriptor.",
      { unit: "calls", live: true },
    ),
    bodiesBytesMax: setting(
      "TEMPERA_BODIES_BYTES_MAX",
      number(z.number().int().min(65_536).max(68_719_476_736)),
      268_435_456,
      "Bytes of bodies, WebSocket messages and large results in the memory of one process, of all owners: " +
        "arriving, waiting or worked on; beyond it they get 503. Memory is taken up to three times while " +
        "they are parsed. At least twice what one owner may have.",
      { unit: "bytes", live: true },
    ),
    bodiesBytesOfOwnerMax: setting(
      "TEMPERA_BODIES_BYTES_OF_OWNER_MAX",
      number(z.number().int().min(65_536).max(68_719_476_736)),
      67_108_864,
      "Bytes of them that one owner may have; beyond it the owner gets 429. " +
        "At least twice `server.bodyBytesMax`, so that a compressed body fits beside what it is made of.",
      { unit: "bytes", live: true },
    ),
    connectionsOfAddressMax: setting(
      "TEMPERA_CONNECTIONS_OF_ADDRESS_MAX",
      number(z.number().int().min(0).max(1_000_000)),
      4096,
      "Open connections of one address (IPv6: a /64) to each port of the gateway; further ones are closed. " +
        "0: as many as it likes, which is right behind a proxy or a load balancer that hides addresses.",
      { unit: "connections" },
    ),
    trustProxy: setting(
      "TEMPERA_TRUST_PROXY",
      flag,
      false,
      "Trust `X-Forwarded-Proto`, `X-Forwarded-Host`, and the last address of `X-Forwarded-For`. " +
        "Use it only behind a proxy that sets all three and that no client can bypass.",
    ),
  },
  tls: {
    enabled: setting(
      "TEMPERA_TLS",
      flag,
      false,
      "Serve the gateway over HTTPS as well as HTTP; `npm start -- --tls` does the same.",
    ),
    port: setting("TEMPERA_TLS_PORT", port, 8443, "Port of the gateway for HTTPS."),
    cert: setting(
      "TEMPERA_TLS_CERT",
      maybe,
      undefined,
      "PEM file of the certificate chain. Default: a certificate for fal's host names, " +
        "signed by a local authority whose files are in the data folder.",
    ),
    key: setting("TEMPERA_TLS_KEY", maybe, undefined, "PEM file of the private key of that certificate."),
    names: setting(
      "TEMPERA_TLS_NAMES",
      maybe,
      undefined,
      "Further host names and addresses in the local authority's certificate, separated by commas.",
    ),
  },
  folders: {
    data: setting(
      "TEMPERA_DATA",
      text,
      ".tempera",
      "Folder for the state of the embedded default: Temporal, PostgreSQL, files, the first key.",
    ),
    models: setting("TEMPERA_MODELS", text, "models", "Folder of the model packages."),
    weights: setting(
      "TEMPERA_WEIGHTS",
      maybe,
      undefined,
      "Folder where GPU workers keep the weights of pushed models. Default: `weights` in the data folder.",
    ),
    schemas: setting(
      "TEMPERA_SCHEMAS",
      text,
      "schemas",
      "Folder of the JSON Schemas of models and of the manifest.",
    ),
  },
  registry: {
    testModels: setting(
      "TEMPERA_TEST_MODELS",
      flag,
      false,
      "Serve the test models, `tempera/stub` and `tempera/stub-pipeline`, as " +
        "`npm start -- --with-test-models` does. They do what their input asks for, " +
        "also crash their engine and fill memory: not for callers whom you do not know.",
    ),
    trustedKeys: setting(
      "TEMPERA_REGISTRY_TRUSTED_KEYS",
      trustedKeys,
      undefined,
      "Public Ed25519 keys, as `tempera models keygen` prints them, separated by commas. " +
        "Only packages that one of them has signed are then published, loaded and served, " +
        "also from the models folder. Default: packages need no signature.",
      { fromFile: true },
    ),
  },
  inputs: {
    coercion: setting(
      "TEMPERA_INPUT_COERCION",
      z.enum(["lax", "strict"], "must be lax or strict"),
      "lax",
      "Values of another type in inputs. `lax`: read as fal's apps do, by pydantic's rules: " +
        '`"42"` for an integer, `"off"` for a boolean. `strict`: refused.',
    ),
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
      "Temporal namespace; created if it does not exist.",
    ),
    port: setting("TEMPERA_TEMPORAL_PORT", port, 7233, `Port of the embedded Temporal. ${GIVES_WAY}`),
    uiPort: setting(
      "TEMPERA_TEMPORAL_UI_PORT",
      port,
      8233,
      `Port of the UI of the embedded Temporal. ${GIVES_WAY}`,
    ),
    uiOrigin: setting(
      "TEMPERA_TEMPORAL_UI_ORIGIN",
      url("http:", "https:"),
      undefined,
      "Address where the Temporal UI is opened, such as `https://temporal.example.com`: " +
        "a page of that origin may call the codec endpoint. Default: the embedded UI.",
    ),
    workflowThread: setting(
      "TEMPERA_TEMPORAL_WORKFLOW_THREAD",
      z.enum(["lean", "sdk"], "must be lean or sdk"),
      "lean",
      "Thread that runs workflow code: `lean`, at half the cost, or `sdk`, Temporal's own. " +
        "If Temporal's SDK has another version than `lean` was written for, `sdk` is used, with a warning.",
    ),
    payloadKeys: setting(
      "TEMPERA_PAYLOAD_KEYS",
      textThat(parsePayloadKeys),
      undefined,
      "Keys that encrypt what Temporal stores: `<id>:<32 bytes in base64>`, separated by commas. " +
        "The first encrypts, all decrypt; with `off` as the first, nothing new is encrypted. " +
        "Default: nothing is encrypted.",
      { secret: true },
    ),
    payloadBinding: setting(
      "TEMPERA_PAYLOAD_BINDING",
      z.enum(PAYLOAD_BINDINGS, "must be on, required or off"),
      "on",
      "Binds what is encrypted to its request and activity, so that Temporal's operators cannot copy it " +
        "elsewhere. With `required`, data that is not bound or not encrypted is refused: set it 30 days " +
        "after encryption was turned on. `off` only while another role has a release from before.",
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
      "URL of PostgreSQL. Default: an embedded one.",
      { secret: true },
    ),
    port: setting("TEMPERA_POSTGRES_PORT", port, 54_329, `Port of the embedded PostgreSQL. ${GIVES_WAY}`),
    connectionsMax: setting(
      "TEMPERA_POSTGRES_CONNECTIONS",
      number(z.number().int().min(1).max(500)),
      10,
      "Connections that each process keeps open. Ten are enough for a busy gateway; " +
        "PostgreSQL allows 100 in all by default.",
      { unit: "connections" },
    ),
    ...serviceTls("PostgreSQL", temperaTlsVariables("POSTGRES")),
  },
  redis: {
    url: setting(
      "REDIS_URL",
      url("redis:", "rediss:"),
      undefined,
      "URL of Redis, for the event log. Default: the memory of the process, which no other process can use.",
      { secret: true },
    ),
    prefix: setting("TEMPERA_REDIS_PREFIX", text, "tempera:", "Prefix of every key in Redis."),
    ...serviceTls("Redis", temperaTlsVariables("REDIS")),
  },
  objects: {
    endpoint: setting(
      "S3_ENDPOINT",
      url("http:", "https:"),
      undefined,
      "URL of an S3-compatible object store. Default: files in the data folder.",
    ),
    bucket: setting("S3_BUCKET", text, "tempera", "Bucket; created if it does not exist."),
    region: setting("S3_REGION", text, "us-east-1", "Region of the bucket."),
    accessKey: setting(
      "S3_ACCESS_KEY",
      maybe,
      undefined,
      "Id of the access key of the object store. It is no secret, but may be given as a file too.",
      {
        fromFile: true,
      },
    ),
    secretKey: setting("S3_SECRET_KEY", maybe, undefined, "Secret key of the object store.", {
      secret: true,
    }),
    ...serviceTls("the object store", temperaTlsVariables("S3")),
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
      "First key of a new deployment, of scope ADMIN; created at start if it does not exist. " +
        "The embedded default creates one by itself.",
      { secret: true },
    ),
    pepper: setting(
      "TEMPERA_KEY_PEPPER",
      peppers,
      undefined,
      "Pepper for the hashes of key secrets, kept outside the database, " +
        "so that access to the database is not enough to make a key. " +
        "Secrets of 16 characters or more, separated by commas: the first is used for new hashes, " +
        "all are recognised, and a key is hashed again with the first when it is used. " +
        "Default: a pepper in the database, which only protects against a leak of the table of keys alone.",
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
      "Time for which the result of a pipeline's node is reused for the same owner and the same input, " +
        "unless its files expire sooner. 0: never.",
      { unit: "s" },
    ),
  },
  engines: {
    isolation: setting(
      "TEMPERA_ENGINE_ISOLATION",
      z.enum(ISOLATIONS, "must be required, best-effort or off"),
      "best-effort",
      "Isolation of engines from the rest of the machine, of which each host permits some layers. " +
        "`best-effort` uses those, and logs what is missing; `required` does not start without all of " +
        "them; `off` uses none.",
    ),
    environment: setting(
      "TEMPERA_ENGINE_ENVIRONMENT",
      engineEnvironment,
      undefined,
      "Variables of this GPU worker's environment that its engines get, separated by commas, such as " +
        "`PYTORCH_ALLOC_CONF,NCCL_DEBUG,OMP_NUM_THREADS,HF_HOME`. No secrets: they run other people's code.",
    ),
    programs: setting(
      "TEMPERA_ENGINE_PROGRAMS",
      engineProgramsSchema,
      undefined,
      "Engines beside the built-in ones, by the name that a manifest gives in `engine:` (see above); " +
        "in the environment, as JSON. Files of the configuration add to one another's.",
      { joined: true },
    ),
  },
  worker: {
    name: setting(
      "TEMPERA_WORKER_NAME",
      maybe,
      undefined,
      "Name of this GPU worker in events and in the Temporal UI. Default: host name and process id.",
    ),
    models: setting(
      "TEMPERA_WORKER_MODELS",
      maybe,
      undefined,
      "Endpoints that this GPU worker serves, separated by commas. Default: all.",
    ),
    device: setting(
      "TEMPERA_WORKER_DEVICE",
      z.string().regex(/^(cpu|(cuda|tensorrt):\d{1,3})$/, "must be cpu, cuda:<n> or tensorrt:<n>"),
      "cpu",
      "Device of this GPU worker's engines: `cpu`, `cuda:0` for the first GPU, " +
        "`tensorrt:0` for the first GPU through TensorRT.",
    ),
    memoryMiB: setting(
      "TEMPERA_WORKER_MEMORY_MIB",
      number(z.number().int().min(1).max(1_000_000_000)).optional(),
      undefined,
      "Memory that all its engines may hold together, in MiB. " +
        "Default: three quarters of the memory of the host (or of the container, if that is less), " +
        "or nine tenths of the memory of the GPU.",
      { unit: "MiB" },
    ),
    outputMiB: setting(
      "TEMPERA_WORKER_OUTPUT_MIB",
      number(z.number().int().min(1).max(1_000_000_000)),
      2_048,
      "Size of all files that one request may produce, in MiB. A request that produces more ends with " +
        "`output_too_large`.",
      { unit: "MiB" },
    ),
    loraCacheMiB: setting(
      "TEMPERA_WORKER_LORA_CACHE_MIB",
      number(z.number().int().min(2_048).max(1_000_000_000)),
      20_480,
      "Size of the LoRA weights of requests that a GPU worker keeps on its disk, in MiB, beside those of " +
        "running requests. The least recently used are deleted.",
      { unit: "MiB" },
    ),
    hubUrl: setting(
      "TEMPERA_HUB_URL",
      url("http:", "https:").unwrap(),
      "https://huggingface.co",
      "Address of the hub from which LoRA weights come that a request names by a repository " +
        "(`<owner>/<name>` with `weight_name`).",
    ),
    graceSeconds: setting(
      "TEMPERA_GRACE_SECONDS",
      number(z.number().min(0).max(86_400)),
      10,
      "Time that running work has after SIGTERM before it is handed back to be tried elsewhere. " +
        "Container schedulers kill a process after 30 s by default.",
      { unit: "s" },
    ),
    resultWaitSeconds: setting(
      "TEMPERA_RESULT_WAIT_SECONDS",
      number(z.number().min(0).max(86_400)),
      300,
      "Time for which a GPU worker keeps a result that a full or unavailable store does not take, " +
        "before the request is run again; at most nine tenths of the time that its model may run.",
      { unit: "s" },
    ),
    storeWaitSeconds: setting(
      "TEMPERA_STORE_WAIT_SECONDS",
      // Each wait adds events to the request's history.
      number(z.number().min(0).max(7_200)),
      900,
      "Time for which a request waits for full or unavailable stores altogether, without using up its " +
        "attempts, before it ends as a dead letter; at most two hours. 0: each failure of a store uses up " +
        "an attempt.",
      { unit: "s" },
    ),
    unservedWaitSeconds: setting(
      "TEMPERA_UNSERVED_WAIT_SECONDS",
      number(z.number().min(0).max(604_800)),
      900,
      "Time for which requests wait for a model whose engine is unhealthy on every GPU worker. After it " +
        "they are refused with `runner_scheduling_failure` and become dead letters, until a trial succeeds " +
        "or an operator resets the engine.",
      { unit: "s" },
    ),
    trialSeconds: setting(
      "TEMPERA_ENGINE_TRIAL_SECONDS",
      number(z.number().min(1).max(86_400)),
      30,
      "Pause after which one request tries a model whose engine is unhealthy; twice as long after each " +
        "trial that fails, at most ten minutes.",
      { unit: "s" },
    ),
    crashesOfOwner: setting(
      "TEMPERA_ENGINE_CRASHES_OF_OWNER",
      number(z.number().int().min(1).max(1_000_000)),
      5,
      "Crashes of a model's engine within an hour, all by requests of one owner, after which the owner's " +
        "requests for the model are refused with `engine_crash_limit` for the rest of that hour.",
      { unit: "crashes" },
    ),
  },
  webhooks: {
    delays: setting(
      "TEMPERA_WEBHOOK_DELAYS",
      seconds,
      [5, 15, 45, 120, 300, 600, 1200, 1800, 2700],
      "Seconds between the attempts of a delivery; there is one attempt more than there are delays. " +
        "The default is ten attempts within two hours.",
      { unit: "s", live: true },
    ),
    timeoutSeconds: setting(
      "TEMPERA_WEBHOOK_TIMEOUT",
      number(z.number().min(0.1).max(120)),
      15,
      "Time that a receiver has to respond to one attempt. fal allows 15 s.",
      { unit: "s", live: true },
    ),
  },
  outbound: {
    sources: setting(
      "TEMPERA_OUTBOUND_SOURCES",
      addressRanges,
      undefined,
      "Addresses and ranges that deliveries come from, as receivers see them, separated by commas; " +
        "`/v1/meta` lists them. Default: none.",
    ),
    privateAddresses: setting(
      "TEMPERA_ALLOW_PRIVATE_ADDRESSES",
      addressRanges,
      undefined,
      "Addresses outside the public Internet that the URLs of webhooks and input files may lead to: " +
        "addresses and ranges separated by commas, such as `10.0.0.0/8, ::1`, or `all`. Default: none.",
    ),
  },
  retention: {
    requestDays: setting(
      "TEMPERA_RETENTION_REQUEST_DAYS",
      days(0.01),
      90,
      "Retention time of the record of a request after its end, in days; with `never` it is not deleted. " +
        "Its dead letter and delivery are deleted with it.",
      { unit: "d" },
    ),
    payloadDays: setting(
      "TEMPERA_RETENTION_PAYLOAD_DAYS",
      days(0.01),
      30,
      "Retention time of a request's input and output, in days; at most as long as the record.",
      { unit: "d" },
    ),
    logDays: setting(
      "TEMPERA_RETENTION_LOG_DAYS",
      days(0.01),
      30,
      "Retention time of a request's log lines, in days; at most as long as the record.",
      { unit: "d" },
    ),
    artifactDays: setting(
      "TEMPERA_RETENTION_ARTIFACT_DAYS",
      days(0.001),
      "never",
      "Retention time of produced files, in days, if the caller sets none.",
      { unit: "d" },
    ),
    uploadDays: setting(
      "TEMPERA_RETENTION_UPLOAD_DAYS",
      days(0.001),
      "never",
      "Retention time of uploaded files, in days, if the caller sets none.",
      { unit: "d" },
    ),
    usageDays: setting(
      "TEMPERA_RETENTION_USAGE_DAYS",
      days(35),
      "never",
      "Retention time of the entries of the usage ledger, in days.",
      { unit: "d" },
    ),
    everySeconds: setting(
      "TEMPERA_RETENTION_EVERY_SECONDS",
      number(z.number().int().min(1).max(86_400)),
      300,
      "Interval between the deletions of expired data. Expired data is no longer shown, deleted or not.",
      { unit: "s" },
    ),
  },
  logSearch: {
    url: setting(
      "TEMPERA_LOG_SEARCH_URL",
      url("http:", "https:"),
      undefined,
      "URL of Elasticsearch or OpenSearch, for the search in log lines, with user and password. " +
        "Default: PostgreSQL's full-text search.",
      { secret: true },
    ),
    index: setting(
      "TEMPERA_LOG_SEARCH_INDEX",
      z
        .string()
        .regex(
          /^[a-z0-9][a-z0-9._-]{0,99}$/,
          "must be 1 to 100 lower-case letters, digits, dots, dashes and underscores",
        ),
      "tempera-logs",
      "Index of the log lines; created if it does not exist.",
    ),
  },
  realtime: {
    idleSeconds: setting(
      "TEMPERA_REALTIME_IDLE_SECONDS",
      number(z.number().min(0.1).max(86_400)),
      60,
      "Time after which a realtime socket without inputs and outputs is closed; " +
        "clients connect again for their next input.",
      { unit: "s", live: true },
    ),
    socketsMax: setting(
      "TEMPERA_SOCKETS_MAX",
      number(z.number().int().min(1).max(100_000)),
      1000,
      "WebSockets that one gateway holds open, of all owners; further ones get 503.",
      { unit: "sockets", live: true },
    ),
    socketsOfOwnerMax: setting(
      "TEMPERA_SOCKETS_OF_OWNER_MAX",
      number(z.number().int().min(1).max(100_000)),
      250,
      "WebSockets that one owner may have open at one gateway; further ones get 429. " +
        "A quarter of `realtime.socketsMax`.",
      { unit: "sockets", live: true },
    ),
    sessionsMax: setting(
      "TEMPERA_SESSIONS_MAX",
      number(z.number().int().min(1).max(100_000)),
      32,
      "Realtime sessions that one owner may have open at one gateway; each holds a slot of an engine. " +
        "A further one gets an error and is closed.",
      { unit: "sessions", live: true },
    ),
  },
  log: {
    level: setting(
      "TEMPERA_LOG_LEVEL",
      z.enum(["debug", "info", "warn", "error", "silent"]),
      "info",
      "Lowest severity that is logged: `debug`, `info`, `warn`, `error` or `silent`.",
      { live: true },
    ),
    format: setting(
      "TEMPERA_LOG_FORMAT",
      z.enum(["text", "json"]).optional(),
      undefined,
      "Format of log lines: `text` for people, or `json`, one object a line. " +
        "Default: text if the standard error is a terminal, else JSON.",
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

/** Variable that names the configuration file, or the folder of such files; it is no setting itself. */
export const CONFIG_FILE_ENV = "TEMPERA_CONFIG";
