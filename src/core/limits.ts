/**
 * Every limit of the platform, with its unit and its reason. The unit of a limit is part of its name; numbers
 * without one are counts. Limits that a deployment may change are the defaults of `src/config`.
 */
export const LIMITS = {
  /**
   * Time for which a key that encrypted must stay configured: Temporal keeps closed workflows for days, and a
   * job may wait for weeks.
   */
  payloadKeyKeptMs: 30 * 24 * 3600 * 1000,
  /** Interval at which a process records that a key still encrypts. */
  payloadKeyNoteMs: 3600 * 1000,
  /**
   * Bytes that the Temporal UI may send to be decoded at once: one page of a history, whose payloads Temporal
   * limits to 2 MB each.
   */
  codecBodyBytesMax: 16 * 1024 * 1024,
  /** Payloads in one such call. */
  codecPayloadsMax: 2_000,
  /** Bytes of a body that the admin service reads: its calls take only a few fields. */
  adminBodyBytesMax: 64 * 1024,
  /** Endpoints that one call of the Platform API may name (contract §10). */
  endpointsPerCallMax: 50,
  /** Bytes of inputs and outputs on one page of requests; a page that reaches it ends early. */
  pagePayloadBytesMax: 32 * 1024 * 1024,
  /** Longest time for a JSON body to arrive. 32 MiB in this time is 0.9 Mbit/s. */
  bodyMs: 5 * 60 * 1000,
  /**
   * Time in which a JSON body must bring `bodyWindowBytesMin` more bytes, or its end: who has stopped sending
   * must not hold memory. A telephone that changes its network is back by then.
   */
  bodyWindowMs: 15_000,
  /** Bytes of a JSON body that must arrive in it: 9 kbit/s, slower than any network that works. */
  bodyWindowBytesMin: 16 * 1024,
  /** Bytes of a JSON body from which on parsing and checking it wait for its owner's turn. */
  bodyTurnBytesMin: 16 * 1024,
  /** Time of work in the event loop up to which its owner need not rest: nobody else would notice it. */
  turnWithoutRestMs: 2,
  /** Length of the rest, as a multiple of that time. */
  turnRestFactor: 4,
  /** Nesting depth of an input's JSON. Deeper input is refused before any recursive function sees it. */
  inputDepthMax: 64,
  /**
   * Values (list items, fields, lists, objects) of a JSON body, counted before it is parsed. Parsing,
   * checking and hashing this many takes up to 40 ms of the event loop, in pieces of up to 15 ms, and no list
   * or mask that a model reads comes near.
   */
  inputValuesMax: 20_000,
  /**
   * Fields of all objects of a JSON body or a realtime frame. One costs several times as much as an item of
   * a list, since its name is looked up in a table of all names: parsing 20,000 in one object takes 18 ms of
   * the event loop, and 5,000 take 4 ms.
   */
  inputFieldsMax: 5_000,
  /**
   * Values (list items and fields) of an invalid input up to which all faults are named instead of only the
   * first: each takes memory.
   */
  inputValuesExplainedMax: 10_000,
  /**
   * Digits of an integer: one of 256 bits has 78. A longer one is refused: reading and writing it takes time
   * that grows with the square of its length.
   */
  integerDigitsMax: 100,
  /** Faults named in one response. */
  inputFaultsMax: 100,
  /**
   * Bytes of a JSON value that Temporal, the event log and PostgreSQL take inline; a larger one is stored as
   * an object (design §3).
   */
  inlineBytesMax: 32 * 1024,
  /** Log lines stored for one request; the first ones are kept, because they explain the later ones. */
  logLinesMax: 1000,
  /** Bytes of one log line. */
  logLineBytesMax: 4096,
  /**
   * Bytes of a produced file that a response may contain as a data URI (`sync_mode`), which is in memory
   * several times; a larger one is stored.
   */
  inlineFileBytesMax: 32 * 1024 * 1024,
  /**
   * Bytes of one preview as an image file: 256 × 256 pixels fit. The event log keeps all previews of a
   * request.
   */
  previewBytesMax: 48 * 1024,
  /**
   * Bytes of one checkpoint: the latents of a minute of video at 720p fit. GPU workers hold it in memory on
   * its way to the object store.
   */
  checkpointBytesMax: 256 * 1024 * 1024,
  /**
   * Bytes of produced files that a GPU worker holds in memory at a time, over all of its runs, until the
   * object store has them: a video of a minute fits. Files beyond it are streamed, and their inference is
   * repeated when the store fails.
   */
  artifactsKeptBytesMax: 64 * 1024 * 1024,
  /** Files that one run produces: their records and addresses are read together. */
  outputFilesMax: 1_000,
  /** Attempts of one request that the memory of a device did not suffice for. */
  memoryAttemptsMax: 2,
  /** Times that a GPU worker leaves such a request to others, before it tries it once more itself. */
  turnedAwayForMemoryMax: 3,
  /** Hand-overs of one request by GPU workers that use up no attempt, besides those because of a store. */
  handOversMax: 100,
  /**
   * Longest time that a failed attempt waits for its last checkpoint to be stored, before the next attempt
   * may begin.
   */
  checkpointWaitMs: 2_000,
  /** Event log: entries kept for one request. 250 steps × (progress + preview) × several attempts fit. */
  eventsMax: 4000,
  /** Event log: time for which a request's events are kept after the last one. Results are in PostgreSQL. */
  eventsTtlMs: 24 * 3600 * 1000,
  /**
   * Longest silence on an open stream of events or a WebSocket: then a comment or a ping is sent. The
   * official Java and Kotlin clients give up after 10 s without a byte and have no option for it
   * (fal-java#9), so one ping may be late by its whole interval.
   */
  keepAliveMs: 4_000,
  /**
   * HTTP/1.1: calls of one connection without an answer. Clients send their next call after the answer; some
   * tools send a few ahead.
   */
  pipelinedCallsMax: 8,
  /**
   * Pieces of a body (chunks, DATA frames, packets) after which their mean length is looked at: a program may
   * write a line at a time.
   */
  bodyPiecesMin: 1_000,
  /** Mean length in bytes of the pieces of a body, below which its connection is closed. */
  bodyPieceBytesMin: 16,
  /**
   * Longest time in which a caller takes nothing of an answer although bytes of it wait. A telephone that
   * changes its network, or a player that pauses with a full buffer, is back by then or asks again.
   */
  answerStallMs: 60_000,
  /**
   * Longest wait of a call until its owner has room for a stored value in memory: the answers before it take
   * seconds.
   */
  valueRoomMs: 10_000,
  /**
   * Files that are on their way to one address (IPv6: a /64), since public ones need no key. A page has some
   * hundred; each holds a descriptor of the object store.
   */
  filesOfAddressMax: 1_000,
  /** Look-ups in PostgreSQL at a time for callers without a key: half of a pool, which keys need too. */
  keylessLookupsMax: 5,
  /** Unknown workflows that one address may ask for without a key, in `unknownWorkflowsWindowMs`. */
  unknownWorkflowsMax: 60,
  /** Length of that window. */
  unknownWorkflowsWindowMs: 30_000,
  /** Time for which a workflow that is not public, or does not exist, is so for callers without a key. */
  unknownWorkflowMs: 2_000,
  /** Such workflows that a gateway knows. */
  unknownWorkflowsCachedMax: 10_000,
  /**
   * HTTP/2: concurrent streams of one connection. A hundred is the least that RFC 9113 recommends, and more
   * than any page has open; callers with more open further connections.
   */
  http2StreamsMax: 100,
  /**
   * HTTP/2: bytes that a caller may send on one stream before they are read. Over a line of 100 ms it is 80
   * Mbit/s for an upload; all streams of a connection together hold at most 100 MiB.
   */
  http2StreamWindowBytes: 1024 * 1024,
  /** HTTP/2: bytes that a caller may send on one connection before Node has taken them. Four fast uploads. */
  http2ConnectionWindowBytes: 4 * 1024 * 1024,
  /**
   * HTTP/2: megabytes that Node holds for one connection, above which new streams are refused. The largest
   * answer, a file of 32 MiB as base64, fits beside others.
   */
  http2SessionMegabytesMax: 64,
  /**
   * HTTP/2: calls of one connection within `http2UnansweredWindowMs` that have no answer, given up ones among
   * them. Three times all that can be open: a page that is left, and left again.
   */
  http2UnansweredMax: 300,
  /** Length of that window. */
  http2UnansweredWindowMs: 10_000,
  /**
   * Time for which a cached key is valid without asking the store: with the time of one query, a revoked key
   * is refused within 2 s.
   */
  keyCacheMs: 1_500,
  /**
   * Interval at which all keys in use are read again with one query; short enough that none expires in the
   * cache.
   */
  keyCheckMs: 1_000,
  /**
   * Time for which a cached key is used without another query after PostgreSQL did not answer; each query may
   * take seconds.
   */
  keyRetryMs: 3_000,
  /** Time for which a key counts as in use after its last call. */
  keyWarmMs: 60_000,
  /**
   * Concurrent lookups of keys; further callers are asked to try again. Each waits for a connection of the
   * pool.
   */
  keyLookupsMax: 2_000,
  /** Interval between two updates of one key's digest to the current form by one process. */
  keyRehashMs: 60_000,
  /** Interval at which the last uses of keys are written to the store, and so their precision. */
  keyUsesMs: 30_000,
  /** Time for which a valid key is still accepted while PostgreSQL cannot be reached. */
  keyStaleMs: 10 * 60 * 1000,
  /** Keys in a gateway's cache, and as many ids without a key; the oldest are evicted. A few MB. */
  keysCachedMax: 10_000,
  /** Patterns of endpoints, and ranges of addresses, of one key. Each call is compared with all. */
  keyPatternsMax: 50,
  /**
   * Start deadlines below this are refused by fal's clients, so they are treated as absent (contract §2.1).
   */
  startTimeoutMsMin: 100,
  /** Longer start deadlines are treated as absent: a timer of years is no deadline. */
  startTimeoutMsMax: 30 * 24 * 3600 * 1000,
  /** Bytes of one uploaded file: the largest object that S3 takes in one piece. */
  fileBytesMax: 5 * 1024 ** 3,
  /** Parts of one upload, as in S3. fal's clients send 10 MiB each. */
  uploadPartsMax: 10_000,
  /** Bytes of one part. */
  uploadPartBytesMax: 512 * 1024 * 1024,
  /** Bytes of every part but the last, as in S3. */
  uploadPartBytesMin: 5 * 1024 * 1024,
  /**
   * Bytes of a pushed model archive, and of its contents. The largest open video models have 120 GB of
   * weights.
   */
  packageBytesMax: 256 * 1024 ** 3,
  /**
   * Bytes of one weight file of a pushed package: S3 takes at most this in one piece. Larger networks are
   * split into shards.
   */
  packageFileBytesMax: 5 * 1024 ** 3,
  /** Entries of a pushed archive: a diffusers folder has some dozens. */
  packageFilesMax: 2_000,
  /** Characters of the path of one file in it, folders included. */
  packagePathCharactersMax: 200,
  /** Bytes of model.yaml. */
  manifestBytesMax: 1024 * 1024,
  /** Bytes of the signature of a pushed package. */
  packageSignatureBytesMax: 64 * 1024,
  /** Signatures of one package that are tried against the trusted keys. */
  packageSignaturesMax: 16,
  /** Longest time in which the texts of a pushed package are parsed and checked. */
  packageCheckMs: 5_000,
  /** Memory of the thread that checks packages, in MiB. */
  packageThreadMib: 512,
  /** Levels of a YAML text, in a model.yaml or a configuration file: its parser is recursive. */
  yamlDepthMax: 64,
  /** Values of such a text: enough for a model of thousands of weight files. */
  yamlValuesMax: 20_000,
  /** Aliases (`*name`) of such a text: each is looked up in the whole of it. */
  yamlAliasesMax: 100,
  /** Bytes of one JSON Schema of a model. */
  schemaBytesMax: 4 * 1024 * 1024,
  /** Longest time in which `tempera models import-fal` fetches an OpenAPI document. */
  openapiFetchMs: 30_000,
  /** Levels of a model's schema: it is compiled recursively. */
  schemaDepthMax: 64,
  /** Values of a model's schema, or of what a restriction accepts. */
  schemaValuesMax: 5_000,
  /**
   * Weight of a model's input schema and restrictions (`schema-weight.ts`): compiling them holds the event
   * loop of a gateway for some 40 ms. The heaviest schema in this repository weighs under 100.
   */
  schemaWeightMax: 1_000,
  /** Weight files of a model that a GPU worker fetches concurrently. */
  weightsAtOnce: 4,
  /**
   * Age after which an unpublished push counts as killed, and its bytes are deleted. Longer than
   * `uploadBodyMs`.
   */
  pushAbandonedMs: 6 * 3600 * 1000,
  /**
   * Time for which the weights of a removed model version stay in the object store: a push restores a version
   * removed by mistake without sending them again.
   */
  removedWeightsKeptMs: 7 * 24 * 3600 * 1000,
  /**
   * Interval at which a process looks for changes of the registry, besides being notified. Changes take
   * effect everywhere within 5 s.
   */
  registryPollMs: 2_500,
  /**
   * Time for which a GPU worker goes on polling for a disabled version although no request of it runs:
   * gateways may be notified later.
   */
  disabledVersionLingerMs: 10_000,
  /** Interval at which it checks whether requests of such a version still run. */
  disabledVersionLookMs: 2_000,
  /** Interval at which the rules of rollouts are checked. */
  rolloutCheckMs: 5_000,
  /** Bytes of the call that begins or completes an upload: 10,000 parts with their etags fit. */
  uploadFormBytesMax: 2 * 1024 * 1024,
  /** Uploads: longest silence of a caller that has more to send. */
  uploadSilenceMs: 60_000,
  /** Uploads: longest time for one body. 5 GiB in this time is 6 Mbit/s. */
  uploadBodyMs: 2 * 3600 * 1000,
  /** Lifetime of an upload URL. A slow connection takes hours for a large file. */
  uploadAddressSeconds: 24 * 3600,
  /** Lifetime of a CDN token; clients request the next one by themselves (contract §6.2). */
  cdnTokenSeconds: 3600,
  /** Longest lifetime of a signed file URL, as in S3; it cannot be revoked. */
  signedAddressSecondsMax: 7 * 24 * 3600,
  /** Longest lifetime that a caller can request for a file; a longer one is for ever. */
  fileLifetimeSecondsMax: 100 * 365 * 24 * 3600,
  /** Rules of one access list: it is stored with the file and read for every request of it. */
  aclRulesMax: 100,
  /** Characters of a user's name in a rule. */
  aclUserCharactersMax: 200,
  /**
   * Interval at which expired data is deleted: bytes of files, and results of nodes. Their URLs end at the
   * exact moment.
   */
  sweepMs: 10_000,
  /**
   * Time for which the output of a request with `X-Fal-Store-IO: 0` can be read after its end, the same hour
   * as fal's (contract §2.4).
   */
  unstoredOutputMs: 3600 * 1000,
  /** Retention: time that one step of a sweep works before it reports its progress. */
  retentionStepMs: 15_000,
  /**
   * Retention: requests that ended within this time may still be in Temporal and the event log, and are
   * deleted there too.
   */
  retentionEchoMs: 7 * 24 * 3600 * 1000,
  /** Retention: younger bytes may belong to running work and are not orphans. */
  orphanAgeMs: 24 * 3600 * 1000,
  /**
   * Pages of a list that are read to find items whose retention time is not over, when no sweep has deleted
   * the others yet.
   */
  expiredPagesMax: 50,
  /** Retention: age after which a checkpoint that no attempt has renewed is checked. */
  checkpointAgeMs: 3600 * 1000,
  /**
   * Retention: interval of the search for bytes without a record and records without bytes. It lists the
   * whole object store.
   */
  orphanSweepMs: 24 * 3600 * 1000,
  /** Usage: interval at which the ledger is compared with Temporal, each time for twice this period. */
  usageCheckMs: 3600 * 1000,
  /** Usage: time for which an ended workflow may be missing in Temporal's list. */
  usageCheckLagMs: 2 * 60 * 1000,
  /**
   * Health: interval of the probes of the services. A process makes one small call to each of PostgreSQL,
   * Temporal and Redis in it.
   */
  probeMs: 5_000,
  /** Health: interval of the probe of an object store that is up, since each is a paid request. */
  objectProbeMs: 30_000,
  /** Health: longest wait of a probe; less than its interval. */
  probeAnswerMs: 4_000,
  /** Time for which a change of an owner's retention times may go unnoticed when its notification is lost. */
  retentionCacheMs: 30_000,
  /** Log streams: interval at which they read new lines and look for requests that have begun. */
  logStreamPollMs: 500,
  /** Log streams: time for which a request is still read after its end, and one without a record awaited. */
  logStreamOverlapMs: 5_000,
  /**
   * Log streams: requests that one follows at a time, the newest; each takes a read of the event log per
   * interval.
   */
  logStreamRequestsMax: 200,
  /** Log streams that one admin service has open. */
  logStreamsMax: 32,
  /** Log streams of one owner among them, so that no owner can use them all. */
  logStreamsOfOwnerMax: 8,
  /** Usage: entries or sums in one response. */
  usageRowsMax: 10_000,
  /** Usage: differences that are stored of one comparison with Temporal. */
  usageDifferencesMax: 100,
  /** Bytes of a webhook's URL. */
  webhookUrlBytesMax: 2048,
  /** Bytes that are read of a webhook receiver's response: enough for the record, however much it sends. */
  webhookAnswerBytesMax: 4096,
  /** Concurrent attempts to one webhook receiver (host and port) from one orchestrator. */
  webhookHostInFlightMax: 16,
  /** Attempts that wait for one of those to end; further ones are put off. */
  webhookHostWaitingMax: 48,
  /** Longest wait of an attempt before it is put off. */
  webhookHostWaitMs: 10_000,
  /**
   * Concurrent attempts of one orchestrator to all receivers: a dozen stuck receivers leave capacity for
   * others. Each is a connection and a few KiB.
   */
  webhooksInFlightMax: 1000,
  /** Silence after which the attempt of an orchestrator that died is made again. */
  webhookHeartbeatMs: 10_000,
  /** Time for which signing keys are cached: a rotation takes effect everywhere within this time. */
  signingKeysCacheMs: 10_000,
  /** Longest time to connect to an address that a caller named. */
  outboundConnectMs: 10_000,
  /** Bytes of the head of a response from such an address. */
  outboundHeaderBytesMax: 16 * 1024,
  /** Redirects that are followed when an input file is fetched. */
  redirectsMax: 5,
  /**
   * Bytes of one file that an input names. Enough for minutes of video; a GPU worker's disk holds one for
   * each of its slots.
   */
  inputFileBytesMax: 512 * 1024 * 1024,
  /** Files that one input may name. */
  inputFilesMax: 32,
  /** Bytes of all files of one input together. */
  inputFilesBytesMax: 1024 * 1024 * 1024,
  /** Bytes of the LoRA weights of one name: those of a video model with 14 billion parameters fit. */
  loraBytesMax: 2 * 1024 * 1024 * 1024,
  /** LoRA weights that one input may name, as many as fal's models take. */
  lorasMax: 3,
  /** Bytes of the LoRA weights of one input together. */
  lorasBytesMax: 4 * 1024 * 1024 * 1024,
  /** Files of one input that are fetched concurrently. */
  inputFilesAtOnce: 4,
  /** Longest time to fetch all files of one input: an engine's slot is held meanwhile. */
  inputFilesMs: 120_000,
  /** Times that an input file is fetched again from a host that fails for now. */
  inputFileRetriesMax: 3,
  /**
   * Wait before the first of them; each further one is four times as long, and `Retry-After` makes any
   * longer.
   */
  inputFileRetryDelayMs: 250,
  /** Longest wait before the next attempt of a job that the host of an input file can ask for. */
  attemptDelayMsMax: 5 * 60 * 1000,
  /**
   * Bytes of an image file that an input names. fal's clients send photographs; a raw scan of 64 million
   * pixels fits.
   */
  imageBytesMax: 64 * 1024 * 1024,
  /** Its pixels: 8000 × 8000. An engine holds them decoded, 4 bytes each, while it scales them down. */
  imagePixelsMax: 64_000_000,
  /** Bytes of a clip that an input names: half a minute of 4K from a camera. */
  clipBytesMax: 256 * 1024 * 1024,
  /**
   * Pixels of one of its frames: 4096 × 2304. A decoder holds up to 17 frames, at 1.5 bytes a pixel and more.
   */
  clipPixelsMax: 4096 * 2304,
  /** Frames of it that are read: 30 s, the longest audio, at 240 per second and some. */
  clipFramesMax: 8_000,
  /** Seconds below which no audio is made for a clip. */
  clipSecondsMin: 0.1,
  /** App tokens: lifetime when none is requested, the same as fal's clients use (contract §5.2). */
  tokenSeconds: 120,
  /** App tokens: longest lifetime that can be requested. A token can be revoked only with its key. */
  tokenSecondsMax: 24 * 3600,
  /** App tokens: applications that one token may name. */
  tokenAppsMax: 100,
  /** Bytes of a request for an app token: the names of its applications. */
  tokenRequestBytesMax: 64 * 1024,
  /**
   * Realtime: bytes of one frame, in either direction. An image or a second of video fits; Redis carries it
   * whole.
   */
  frameBytesMax: 8 * 1024 * 1024,
  /**
   * Realtime: values of one input, counted before it is decoded: many frames a second must not block other
   * callers.
   */
  frameValuesMax: 25_000,
  /**
   * Realtime: bytes of a frame from which on reading and checking it wait for its owner's turn. Those of a
   * smaller one take less than 2 ms, however many values it has.
   */
  frameTurnBytesMin: 4 * 1024,
  /** Realtime: characters of an input that is text JSON. Images and audio are sent as bytes in msgpack. */
  textFrameCharactersMax: 1024 * 1024,
  /**
   * Realtime: inputs that wait for the engine when the caller sets no `max_buffering`; the oldest is dropped
   * first.
   */
  framesBufferedMax: 60,
  /** Realtime: bytes of those inputs, bounded for the same reason as their number. */
  framesBufferedBytesMax: 32 * 1024 * 1024,
  /**
   * Realtime: bytes of outputs that wait in a gateway for a caller that does not read; above it the socket is
   * closed.
   */
  socketBacklogBytesMax: 32 * 1024 * 1024,
  /**
   * WebSockets: bytes of outputs that wait in a gateway, of all sockets together; above it the socket with
   * the most is closed.
   */
  socketsBacklogBytesMax: 256 * 1024 * 1024,
  /** WebSockets: interval at which those are added up. */
  socketsBacklogCheckMs: 250,
  /**
   * Realtime: longest wait of a session for an engine's slot, at its start and after the loss of its GPU
   * worker.
   */
  sessionStartMs: 60_000,
  /** Realtime: interval at which each end of a session signals that it is alive. */
  sessionPulseMs: 2_000,
  /**
   * Realtime: silence after which a GPU worker releases a session's slot, because its gateway must be gone.
   */
  sessionSilenceMs: 15_000,
  /**
   * Realtime: longest session; clients reconnect by themselves. A day-long session would keep its slot from
   * all others.
   */
  sessionMs: 4 * 3600 * 1000,
  /** Realtime: attempts of one session, each after the loss of an engine or a GPU worker. */
  sessionAttemptsMax: 10,
  /**
   * Realtime: interval at which an open session's key is checked in memory: with `keyCacheMs`, a revoked key
   * loses its session within 2 s.
   */
  sessionKeyCheckMs: 500,
  /** WebSockets: longest time for a caller to answer a close before the connection is cut. */
  socketCloseMs: 2_000,
  /**
   * WebSockets: consecutive pings without an answer after which a connection is gone. With `keepAliveMs` that
   * is 20 s: a telephone that changes its network is back by then.
   */
  socketPingsUnansweredMax: 5,
  /**
   * Crashes of a model's engine of different causes, without a finished run between, after which a GPU worker
   * takes the model out of rotation. All crashes by requests of one owner are one cause.
   */
  engineCrashesMax: 3,
  /** Longest pause before a model that is out of rotation is tried again. */
  engineTrialDelayMsMax: 10 * 60 * 1000,
  /**
   * Time for which a crash of an engine counts against the owner and the input that were on it: the longest
   * quarantine.
   */
  crashKeptMs: 3600 * 1000,
  /** Crash records of one owner and model version; the oldest make room. */
  crashRecordsOfOwnerMax: 64,
  /** Crash records that a GPU worker reads, the newest. */
  crashesListedMax: 10_000,
  /** Interval at which a GPU worker reads the crash records again, besides being notified of changes. */
  crashRefreshMs: 10_000,
  /** Isolated engines: size of the scratch folder, which is in memory, and of each file in it. */
  engineScratchBytesMax: 2 * 1024 ** 3,
  /** Isolated engines: open files of each process. */
  engineOpenFilesMax: 4_096,
  /** Isolated engines: processes and threads, besides four for each core; runtimes have one of each kind. */
  engineProcessesMax: 512,
  /** Isolated engines on a CPU: private memory of a process that every runtime may need. */
  engineDataMiB: 4_096,
  /** Isolated engines on a CPU: private memory beyond that, in multiples of the manifest's `memoryMiB`. */
  engineDataTimes: 4,
  /** Interval at which a GPU worker reports the status of its engines, besides reporting each change. */
  engineReportMs: 2_000,
  /** Changes within this time are reported together. */
  engineReportDebounceMs: 50,
  /** Silence after which a GPU worker is shown to operators as lost. */
  engineReportSilenceMs: 10_000,
  /** Time for which the last report of a lost GPU worker is shown. */
  engineReportKeptMs: 10 * 60 * 1000,
  /** Interval at which a GPU worker looks for requests of models for which it has no memory to poll. */
  backlogCheckMs: 250,
  /**
   * Time for which requests of such a model wait while other models have work, before one of those is
   * evicted.
   */
  waitBehindBusyModelsMs: 10_000,
  /**
   * Node results: time without renewal after which another request may take over a claim. Claims are renewed
   * three times as often.
   */
  nodeClaimMs: 15_000,
  /**
   * Node results: interval at which a waiting request looks for the result of another one, besides being
   * notified.
   */
  nodeClaimPollMs: 1_000,
  /** Node results: time after which an expired claim is deleted. */
  nodeClaimKeptMs: 10 * 60 * 1000,
  /**
   * Time for which an idempotency key is stored. Clients' retries end within minutes; a day covers a queue
   * that was down overnight.
   */
  idempotencySeconds: 24 * 3600,
  /** Characters of an idempotency key. */
  idempotencyKeyCharactersMax: 255,
  /**
   * Time for which an unanswered Platform write keeps its idempotency key, before the next call with that key
   * does the work itself.
   */
  writeClaimMs: 30_000,
  /** Longest wait of a call for the response of an earlier call with the same key. */
  writeAnswerMs: 5_000,
  /** Interval at which expired claims are deleted. */
  claimSweepMs: 60_000,
  /** Interval at which an orchestrator tries the noted withdrawals. */
  withdrawalSweepMs: 5_000,
  /**
   * Time for which a withdrawn job that Temporal does not know is looked for: a start that was under way may
   * arrive late. Temporal gives up a call after less than a minute.
   */
  withdrawalKeptMs: 5 * 60_000,
  /** Interval of the search for jobs that were granted a slot and not notified. */
  slotSweepMs: 5_000,
  /** Age of a slot at which Temporal is asked whether its job still exists. */
  slotCheckMs: 60_000,
  /**
   * Time for which a gateway caches an owner's limits when it is notified of no change. Changes are announced
   * at once.
   */
  limitsCacheMs: 300_000,
  /** Callers whose limits a gateway caches; the least recently used are evicted. */
  limitsCachedMax: 10_000,
  /**
   * Time for which a gateway uses a count of an owner's requests, plus its own since, before it counts them
   * again.
   */
  usageCounterMs: 2_000,
  /**
   * WebSocket handshakes of one address at a time, with those that were refused and whose socket is closing:
   * none of them has a key yet. Enough for an office whose sockets all connect again after a restart.
   */
  handshakesOfAddressMax: 256,
  /** Calls with a wrong key that one address may make within `authFailureWindowSeconds`. */
  authFailuresMax: 60,
  /** Length of that window; the address is served again when it has passed since the last wrong key. */
  authFailureWindowSeconds: 30,
  /** Time for which the refusal of an address with too many wrong keys waits. */
  authRefusalMs: 500,
  /** Refusals of one address that wait, each with its call and a timer. Further ones are answered at once. */
  authRefusalsWaitingMax: 1_000,
  /** Addresses that are watched for wrong keys concurrently. */
  authFailureAddressesMax: 100_000,
  /** HTTP over WebSocket: silence after which an idle socket is closed. */
  socketIdleMs: 10 * 60 * 1000,
  /**
   * Nodes of one pipeline: Temporal's history of 500 is some thousand events and at most 32 MiB, below its
   * limits of 50,000 events and 50 MiB.
   */
  pipelineNodesMax: 500,
  /** Depth to which pipelines may call one another. */
  pipelineDepthMax: 8,
  /** Nodes of one pipeline that run or wait for a GPU concurrently; further ones wait within the pipeline. */
  pipelineNodesAtOnce: 100,
  /** Longest time of a whole pipeline, with the waiting of its nodes. */
  pipelineMs: 24 * 3600 * 1000,
  /** Bytes of a value of a pipeline with its long texts, which do not pass through Temporal. */
  pipelineStoredBytesMax: 64 * 1024 * 1024,
  /**
   * Bytes of a stored value that a pipeline's code may read, without its long texts: it passes through
   * Temporal, which refuses 2 MiB.
   */
  pipelineValueBytesMax: 256 * 1024,
  /**
   * Bytes of stored values that an orchestrator reads and writes at a time, of all pipelines: two of the
   * largest. They take up to three times as much memory while they are parsed and written.
   */
  pipelineValuesBytesMax: 128 * 1024 * 1024,
  /**
   * Bytes of a value that a pipeline makes itself: the input of a node, or its own output. It passes through
   * Temporal on its way to the object store.
   */
  pipelineMadeBytesMax: 512 * 1024,
  /**
   * Bytes of all larger values of one pipeline that pass through Temporal, in either direction: with the
   * small ones of 500 nodes, the history stays below 50 MiB.
   */
  pipelinePassedBytesMax: 12 * 1024 * 1024,
  /**
   * Bytes of a definition as a plan: 500 nodes with a few KiB of text fit. It passes through Temporal once.
   */
  pipelinePlanBytesMax: 1024 * 1024,
  /** Time after which a running node is listed. */
  nodeRecordAfterMs: 1_000,
  /** HTTP over WebSocket: payloads that wait on one socket for the one before them. */
  socketPayloadsMax: 100,
  /** Characters of a node's name. */
  nodeIdCharactersMax: 128,
  /** Bytes of the call that saves a pipeline: its definition, and the data that an editor stores with it. */
  pipelineBodyBytesMax: 2 * 1024 * 1024,
  /** Fields of that call: 20 for each of 500 nodes. */
  pipelineBodyFieldsMax: 10_000,
  /**
   * Fields of a definition's input, nested ones included: the input check is compiled from them, which takes
   * half a second for this many.
   */
  pipelineSchemaPartsMax: 128,
  /** Names and values in their `required`, `enum`, `const` and `default`: each is compiled too. */
  pipelineSchemaEntriesMax: 1_000,
  /** Fields of its output, which is not compiled. */
  pipelineOutputPartsMax: 1_000,
  /** Characters of a saved pipeline's name, as in fal (contract §11.3). */
  pipelineNameCharactersMax: 128,
  /** Characters of a saved pipeline's title, as in fal. */
  pipelineTitleCharactersMax: 256,
  /** Characters of a saved pipeline's description. */
  pipelineDescriptionCharactersMax: 4096,
  /** Tags of a saved pipeline. */
  pipelineTagsMax: 50,
  /** Characters of one tag. */
  pipelineTagCharactersMax: 64,
  /** Saved pipelines of one owner, without removed ones. */
  pipelinesOfOwnerMax: 1000,
  /** Time for which a gateway caches a saved pipeline when it is notified of no change. */
  pipelineCacheMs: 10_000,
  /** Compiled checks of pipelines' inputs in an orchestrator; the least recently used are evicted. */
  pipelineChecksCachedMax: 100,
  /** Saved pipelines that a gateway caches; the least recently used are evicted. */
  pipelinesCachedMax: 1000,
  /** Longest time in which a schema that an owner wrote is compiled and a value checked against it. */
  schemaTaskMs: 5_000,
  /** Time of a task up to which its owner need not rest: the first one with a usual schema takes less. */
  schemaTaskWithoutRestMs: 200,
  /** Checks of one owner's workflows that wait in a process. */
  schemaTasksWaitingMax: 100,
  /** Memory of the thread that compiles owners' schemas, in MiB. */
  schemaThreadMib: 256,
} as const;
