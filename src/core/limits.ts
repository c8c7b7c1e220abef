/** Every limit of the platform, in one place, with its unit and its reason. Those a deployment may change are defaults of `config/`. */
export const LIMITS = {
  /** A request body. fal accepts data URIs of 10 MB and more; 32 MiB leaves room and bounds memory per connection. */
  bodyBytesMax: 32 * 1024 * 1024,
  /** JSON nesting of an input. Deeper ones are refused before anything walks them recursively. */
  inputDepthMax: 64,
  /** Values (list items and fields) of a faulty input up to which all its faults are named, not only the first: each costs memory. */
  inputValuesExplainedMax: 10_000,
  /** Faults named in one answer. */
  inputFaultsMax: 100,
  /** JSON that travels inside Temporal, the event log and Postgres; anything larger goes to the object store (design §3). */
  inlineBytesMax: 32 * 1024,
  /** Log lines kept for one request; the first ones win, since they explain the rest. */
  logLinesMax: 1000,
  /** One log line. */
  logLineBytesMax: 4096,
  /** Event log: entries kept for one request. 250 steps × (progress + preview) × a few attempts fit. */
  eventsMax: 4000,
  /** Event log: how long a request's events outlive its last event. Results live in Postgres. */
  eventsTtlMs: 24 * 3600 * 1000,
  /** SSE: longest silence on a status stream; proxies cut idle connections at 30-60 s (contract §2.3). */
  keepAliveMs: 15_000,
  /** How long an authenticated key is remembered by a gateway when no notification arrives. */
  keyCacheMs: 3_000,
  /** How long a key that was valid still opens while Postgres cannot be asked. */
  keyStaleMs: 10 * 60 * 1000,
  /** Keys a gateway remembers; past that it forgets all and asks again. */
  keysRememberedMax: 10_000,
  /** Start deadlines below this are refused by fal's clients, so they are treated as absent (contract §2.1). */
  startTimeoutMsMin: 100,
  /** Longer start deadlines are treated as absent: a timer of years is no deadline. */
  startTimeoutMsMax: 30 * 24 * 3600 * 1000,
} as const;
