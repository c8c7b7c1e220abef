/**
 * Every limit of the platform, in one place, with its unit and its reason. Those a deployment may change are
 * defaults of `config/`.
 */
export const LIMITS = {
  /**
   * A request body. fal accepts data URIs of 10 MB and more; 32 MiB leaves room and bounds memory per
   * connection.
   */
  bodyBytesMax: 32 * 1024 * 1024,
  /**
   * How long a key that encrypted must stay known: Temporal keeps a closed workflow for days, and a job may
   * wait for weeks.
   */
  payloadKeyKeptMs: 30 * 24 * 3600 * 1000,
  /** How often it is noted that a key still encrypts. */
  payloadKeyNoteMs: 3600 * 1000,
  /**
   * What the Temporal UI asks to decode at once: one page of a history, whose payloads Temporal bounds at 2
   * MB each.
   */
  codecBodyBytesMax: 16 * 1024 * 1024,
  /** Payloads in it. */
  codecPayloadsMax: 10_000,
  /** A body that the admin service reads: its verbs take a few fields. */
  adminBodyBytesMax: 64 * 1024,
  /** Endpoints that one call of the Platform API may name (contract §10). */
  endpointsAskedMax: 50,
  /** Inputs and outputs on one page of requests; a page that grows larger ends early. */
  pagePayloadBytesMax: 32 * 1024 * 1024,
  /** A JSON body: how long it may take to arrive. 32 MiB in this time is 0.9 Mbit/s. */
  bodyMs: 5 * 60 * 1000,
  /** JSON nesting of an input. Deeper ones are refused before anything walks them recursively. */
  inputDepthMax: 64,
  /**
   * Values (list items, fields, lists, objects) of a JSON body, counted before it is parsed: this many take
   * most of a second.
   */
  inputValuesMax: 200_000,
  /**
   * Values (list items and fields) of a faulty input up to which all its faults are named, not only the
   * first: each costs memory.
   */
  inputValuesExplainedMax: 10_000,
  /** Faults named in one answer. */
  inputFaultsMax: 100,
  /**
   * JSON that travels inside Temporal, the event log and Postgres; anything larger goes to the object store
   * (design §3).
   */
  inlineBytesMax: 32 * 1024,
  /** Log lines kept for one request; the first ones win, since they explain the rest. */
  logLinesMax: 1000,
  /** One log line. */
  logLineBytesMax: 4096,
  /**
   * A produced file that an answer holds as a data URI (`sync_mode`), which is in memory several times over;
   * a larger one is stored.
   */
  inlineFileBytesMax: 32 * 1024 * 1024,
  /** One preview, as a picture file: 256 × 256 pixels fit. The event log holds every one of a request. */
  previewBytesMax: 48 * 1024,
  /**
   * One checkpoint: the latents of a minute of video at 720p fit. GPU workers hold it in memory on its way to
   * the object store.
   */
  checkpointBytesMax: 256 * 1024 * 1024,
  /** How often GPU workers may let go of one request without an attempt being counted. */
  handOversMax: 100,
  /** How long a failed attempt waits for its last checkpoint to be kept, before the next one may begin. */
  checkpointWaitMs: 2_000,
  /** Event log: entries kept for one request. 250 steps × (progress + preview) × a few attempts fit. */
  eventsMax: 4000,
  /** Event log: how long a request's events outlive its last event. Results live in Postgres. */
  eventsTtlMs: 24 * 3600 * 1000,
  /**
   * SSE: longest silence on a status stream; proxies cut idle connections at 30-60 s, and 15 s is the
   * contract (§2.3).
   */
  keepAliveMs: 12_000,
  /**
   * How long a key is believed since the store was last asked: with the time of one query, a revoked one is
   * refused within 2 s.
   */
  keyCacheMs: 1_500,
  /**
   * How often the keys in use are looked at again, all with one query; often enough that none becomes too old
   * to be believed.
   */
  keyCheckMs: 1_000,
  /**
   * How long a known key serves without another try, after Postgres did not answer; each try may take
   * seconds.
   */
  keyRetryMs: 3_000,
  /** How long a key counts as in use after it was asked for. */
  keyWarmMs: 60_000,
  /**
   * Keys that are being looked up at once; past that a caller is told to try again. Each waits for a
   * connection of the pool.
   */
  keyAsksMax: 2_000,
  /** How often one process stores one key's secret anew at most, in the way it takes for today's. */
  keyRehashMs: 60_000,
  /** How often the store is told when keys were last used: what is shown is this exact. */
  keyUsesMs: 30_000,
  /** How long a key that was valid still opens while Postgres cannot be asked. */
  keyStaleMs: 10 * 60 * 1000,
  /**
   * Keys a gateway remembers, and as many ids that there is no key for; past that it forgets the oldest. A
   * few MB.
   */
  keysRememberedMax: 10_000,
  /**
   * Start deadlines below this are refused by fal's clients, so they are treated as absent (contract §2.1).
   */
  startTimeoutMsMin: 100,
  /** Longer start deadlines are treated as absent: a timer of years is no deadline. */
  startTimeoutMsMax: 30 * 24 * 3600 * 1000,
  /** One uploaded file: S3 takes at most this in one piece. */
  fileBytesMax: 5 * 1024 ** 3,
  /** Parts of one upload, as S3 has it. fal's clients send 10 MiB each. */
  uploadPartsMax: 10_000,
  /** One part. */
  uploadPartBytesMax: 512 * 1024 * 1024,
  /** One part that is not the last, as S3 has it. */
  uploadPartBytesMin: 5 * 1024 * 1024,
  /** A pushed model archive, and what is in it. The largest open video models have 120 GB of weights. */
  packageBytesMax: 256 * 1024 ** 3,
  /**
   * One weight file of a pushed package: S3 takes at most this in one piece. Larger networks come in shards.
   */
  packageFileBytesMax: 5 * 1024 ** 3,
  /** Entries of a pushed archive: a diffusers folder has some dozens. */
  packageFilesMax: 2_000,
  /** The name of one of its files, folders included. */
  packagePathCharactersMax: 200,
  /** model.yaml. */
  manifestBytesMax: 1024 * 1024,
  /** One JSON Schema of a model. */
  schemaBytesMax: 4 * 1024 * 1024,
  /** Files of a model that a GPU worker fetches at once. */
  weightsAtOnce: 4,
  /**
   * A push that began earlier and is not published was killed: its bytes are removed. Longer than
   * `uploadBodyMs`.
   */
  pushAbandonedMs: 6 * 3600 * 1000,
  /**
   * How long the weights of a removed model version are kept in the object store: a removal by mistake is
   * mended by a push, without them too.
   */
  removedWeightsKeptMs: 7 * 24 * 3600 * 1000,
  /**
   * How often a process looks whether the registry has changed, beside being told. Changes show everywhere
   * within 5 s.
   */
  registryPollMs: 2_500,
  /**
   * How long a GPU worker goes on polling for a version that was disabled, although nothing of it runs:
   * gateways may hear of it later.
   */
  disabledVersionLingerMs: 10_000,
  /** How often it looks whether anything of such a version still runs. */
  disabledVersionLookMs: 2_000,
  /** How often the rules of rollouts are looked at. */
  rolloutCheckMs: 5_000,
  /** What begins or completes an upload: 10,000 parts with their etags fit. */
  uploadFormBytesMax: 2 * 1024 * 1024,
  /** Uploads: longest silence of a caller who has more to send. */
  uploadSilenceMs: 60_000,
  /** Uploads: how long one body may take. 5 GiB in this time is 6 Mbit/s. */
  uploadBodyMs: 2 * 3600 * 1000,
  /** How long an upload address is good. A slow line takes hours for a large file. */
  uploadAddressSeconds: 24 * 3600,
  /** How long a CDN token is good; clients ask for the next one by themselves (contract §6.2). */
  cdnTokenSeconds: 3600,
  /** Longest life of a signed file address, as S3 has it; it cannot be taken back. */
  signedAddressSecondsMax: 7 * 24 * 3600,
  /** Longest lifetime of a file that can be asked for; longer is for ever. */
  fileLifetimeSecondsMax: 100 * 365 * 24 * 3600,
  /** Rules of one access list: it is stored with the file and read with every request for it. */
  aclRulesMax: 100,
  /** Name of a user in a rule, in characters. */
  aclUserCharactersMax: 200,
  /**
   * How often what is past is removed: bytes of files whose time has passed, results of nodes. Their
   * addresses end at the moment itself.
   */
  sweepMs: 10_000,
  /**
   * How long the output of a request with `X-Fal-Store-IO: 0` can be read after its end: fal's own hour
   * (contract §2.4).
   */
  unstoredOutputMs: 3600 * 1000,
  /** Retention: how long one step of a sweep works before it says how far it is. */
  retentionStepMs: 15_000,
  /**
   * Retention: requests that ended within this time may still be in Temporal and the event log, and are
   * deleted there too.
   */
  retentionEchoMs: 7 * 24 * 3600 * 1000,
  /** Retention: bytes younger than this belong to work that may be under way, and are no orphans. */
  orphanAgeMs: 24 * 3600 * 1000,
  /**
   * Pages of a list that are looked through for what has not lived its time, when no sweep has come to the
   * rest yet.
   */
  expiredPagesMax: 50,
  /** Retention: a checkpoint that no attempt has renewed for this long is looked at. */
  checkpointAgeMs: 3600 * 1000,
  /**
   * Retention: how often bytes without a record and records without bytes are looked for. It lists the whole
   * object store.
   */
  orphanSweepMs: 24 * 3600 * 1000,
  /** Usage: how often the ledger is looked at beside Temporal, each time for twice as long. */
  usageCheckMs: 3600 * 1000,
  /** Usage: what has ended within this time may not show in Temporal's list yet. */
  usageCheckLagMs: 2 * 60 * 1000,
  /** How long a change of an owner's retention times may go unnoticed when no notification arrives. */
  retentionCacheMs: 30_000,
  /** Log streams: how often they look for new lines, and for requests that have begun. */
  logStreamLookMs: 500,
  /** Log streams: for how long a request is looked at after its end. */
  logStreamOverlapMs: 5_000,
  /**
   * Log streams: requests that one follows at a time, the newest; each is a read of the event log at every
   * look.
   */
  logStreamRequestsMax: 200,
  /** Log streams that one admin service holds open, and of one owner: nobody's may be all of them. */
  logStreamsMax: 32,
  logStreamsOfOwnerMax: 8,
  /** Usage: entries or sums of one answer. */
  usageRowsMax: 10_000,
  /** Usage: what of a look's differences is kept. */
  usageDifferencesMax: 100,
  /**
   * How often the bytes of files whose time has passed are removed; their addresses end at the moment itself.
   */
  fileSweepMs: 10_000,
  /** A webhook's address. */
  webhookUrlBytesMax: 2048,
  /**
   * What is read of a webhook receiver's answer: enough for its words in the record, however much it sends.
   */
  webhookAnswerBytesMax: 4096,
  /** Attempts that go to one webhook receiver (host and port) at once, from one orchestrator. */
  webhookHostInFlightMax: 16,
  /** Attempts that wait for those; more are sent away and come back later. */
  webhookHostWaitingMax: 48,
  /** How long an attempt waits before it is sent away. */
  webhookHostWaitMs: 10_000,
  /**
   * Attempts that one orchestrator has in hand, of all receivers: a dozen stuck ones leave room. Each is a
   * connection and a few KiB.
   */
  webhooksInHandMax: 1000,
  /** Silence after which an attempt whose orchestrator died is made again. */
  webhookHeartbeatMs: 10_000,
  /** How long signing keys are remembered: a rotation shows everywhere within this time. */
  signingKeysCacheMs: 10_000,
  /** Connecting to an address that a caller named. */
  outboundConnectMs: 10_000,
  /** Head of an answer from such an address. */
  outboundHeaderBytesMax: 16 * 1024,
  /** Redirects followed when an input file is fetched. */
  redirectsMax: 5,
  /**
   * One file that an input names. Large enough for minutes of video; a GPU worker's disk holds one for each
   * of its slots.
   */
  inputFileBytesMax: 512 * 1024 * 1024,
  /** Files that one input names. */
  inputFilesMax: 32,
  /** All files of one input together. */
  inputFilesBytesMax: 1024 * 1024 * 1024,
  /** Files of one input that are fetched at once. */
  inputFilesAtOnce: 4,
  /** Fetching all files of one input: an engine's slot is held meanwhile. */
  inputFilesMs: 120_000,
  /**
   * A picture that an input names, as a file. fal's clients send photographs; a raw scan of 64 million pixels
   * fits.
   */
  imageBytesMax: 64 * 1024 * 1024,
  /** Its pixels: 8000 × 8000. An engine holds them unpacked, 4 bytes each, while it scales them down. */
  imagePixelsMax: 64_000_000,
  /** A clip that an input names, as a file: half a minute of 4K from a camera. */
  clipBytesMax: 256 * 1024 * 1024,
  /**
   * Pixels of one of its frames: 4096 × 2304. A decoder holds up to 17 of them, 1.5 bytes a pixel and more.
   */
  clipPixelsMax: 4096 * 2304,
  /** Its frames that are looked at: 30 s, the longest sound, at 240 a second and some. */
  clipFramesMax: 8_000,
  /** Shorter clips have no sound to be made for them. */
  clipSecondsMin: 0.1,
  /** App tokens: life when none is asked for, as fal's clients have it (contract §5.2). */
  tokenSeconds: 120,
  /** App tokens: longest life that can be asked for. A token cannot be taken back but with its key. */
  tokenSecondsMax: 24 * 3600,
  /** App tokens: applications one token may name. */
  tokenAppsMax: 100,
  /** What asks for an app token: its applications by name. */
  tokenRequestBytesMax: 64 * 1024,
  /** Realtime: one frame, either way. A picture or a second of video fits; Redis carries it whole. */
  frameBytesMax: 8 * 1024 * 1024,
  /**
   * Realtime: values of one input, counted before they are made: many frames a second must not hold up
   * everybody else.
   */
  frameValuesMax: 25_000,
  /** Realtime: characters of an input that is text JSON. Pictures and sound go as bytes in msgpack. */
  textFrameCharactersMax: 1024 * 1024,
  /**
   * Realtime: inputs that wait for the engine when the caller does not say (`max_buffering`); the oldest goes
   * first.
   */
  framesBufferedMax: 60,
  /** Realtime: bytes of those inputs, for the same reason that their number is bounded. */
  framesBufferedBytesMax: 32 * 1024 * 1024,
  /**
   * Realtime: outputs that wait in a gateway for a caller who does not read, in bytes; past that the socket
   * is closed.
   */
  socketBacklogBytesMax: 32 * 1024 * 1024,
  /**
   * WebSockets: inputs that wait in a gateway, of all its sockets together, in bytes; past that who sends
   * more loses some.
   */
  socketsInputBytesMax: 256 * 1024 * 1024,
  /**
   * WebSockets: outputs that wait in a gateway, of all its sockets together; past that the one with most is
   * closed.
   */
  socketsBacklogBytesMax: 256 * 1024 * 1024,
  /** WebSockets: how often those are added up. */
  socketsBacklogCheckMs: 250,
  /**
   * Realtime: how long a session may wait for an engine's slot at its start, and for a new one after its GPU
   * worker was lost.
   */
  sessionStartMs: 60_000,
  /** Realtime: how often each end of a session says that it is there. */
  sessionPulseMs: 2_000,
  /**
   * Realtime: silence after which a GPU worker gives a session's slot back, because its gateway must be gone.
   */
  sessionSilenceMs: 15_000,
  /**
   * Realtime: longest session; clients connect again by themselves. A day-long one would hold its slot
   * against everybody.
   */
  sessionMs: 4 * 3600 * 1000,
  /** Realtime: attempts of one session, each after the loss of an engine or a GPU worker. */
  sessionAttemptsMax: 10,
  /**
   * Realtime: how often an open session's key is looked at again, in memory: with `keyCacheMs`, a revoked one
   * is out within 2 s.
   */
  sessionKeyCheckMs: 500,
  /** WebSockets: how long a caller may take to answer a close before the connection is cut. */
  socketCloseMs: 2_000,
  /** WebSockets: a connection that does not answer a ping for this long is gone. */
  socketPingMs: 20_000,
  /**
   * Crashes of a model's engine in a row, without a finished run between, before its GPU worker calls the model
   * unhealthy and serves it no more.
   */
  engineCrashesMax: 3,
  /** How often a GPU worker says how its engines are, beside each change. */
  engineReportMs: 2_000,
  /** Changes that come together are reported together. */
  engineReportGatherMs: 50,
  /** Silence after which a GPU worker counts as lost in what operators are shown. */
  engineReportSilenceMs: 10_000,
  /** How long the last word of a lost GPU worker is shown. */
  engineReportKeptMs: 10 * 60 * 1000,
  /** How often a GPU worker looks for requests of the models it has no room to poll for. */
  backlogLookMs: 250,
  /**
   * How long requests of such a model wait while the others have work, before one of those is asked to make
   * room.
   */
  waitBehindBusyModelsMs: 10_000,
  /**
   * Node results: silence after which another request may make a result that one has claimed. Claims are held
   * three times as often.
   */
  nodeClaimMs: 15_000,
  /** Node results: how often one that waits for another's looks for it, beside being told. */
  nodeClaimLookMs: 1_000,
  /** Node results: how long a claim that nobody holds is left standing. */
  nodeClaimKeptMs: 10 * 60 * 1000,
  /**
   * How long an idempotency key is remembered. Clients' retries end within minutes; a day covers a queue that
   * was down overnight.
   */
  idempotencySeconds: 24 * 3600,
  /** An idempotency key, in characters. */
  idempotencyKeyCharactersMax: 255,
  /**
   * How long a Platform write that was never answered keeps its key, before the next call with that key does
   * the work itself.
   */
  writeClaimMs: 30_000,
  /** How long a call waits for the answer of an earlier one with the same key. */
  writeAnswerMs: 5_000,
  /** How often claims whose time has passed are deleted. */
  claimSweepMs: 60_000,
  /** How often jobs that were granted a place and not told are looked for. */
  placeSweepMs: 5_000,
  /** How old a place is when Temporal is asked whether its job still exists. */
  placeCheckMs: 60_000,
  /**
   * How long a gateway believes what an owner's allowance is when it hears of no change. Changes are told at
   * once.
   */
  allowanceCacheMs: 300_000,
  /** Callers whose allowance a gateway remembers; past that the longest known go first. */
  allowancesRememberedMax: 10_000,
  /**
   * How long an owner whose call was refused has its next ones counted before anything else is asked for
   * them: a flood must cost little.
   */
  refusedLatelyMs: 10_000,
  /**
   * How long a gateway goes by a count of an owner's requests, and its own since, before it has them counted
   * again.
   */
  tallyMs: 2_000,
  /** Calls with a wrong key that one address may make within `wrongKeysSeconds`. */
  wrongKeysMax: 60,
  /** The time in which those are counted, and after the last of which the address is listened to again. */
  wrongKeysSeconds: 30,
  /** Addresses that are watched for wrong keys at once. */
  wrongKeyAddressesMax: 100_000,
  /** HTTP over WebSocket: silence after which a socket with nothing to do is closed. */
  socketIdleMs: 10 * 60 * 1000,
  /**
   * Nodes of one pipeline: Temporal's history of 500 is some thousand events and at most 32 MiB, under its
   * bounds of 50,000 and 50.
   */
  pipelineNodesMax: 500,
  /** How deep pipelines may call one another. */
  pipelineDepthMax: 8,
  /** Nodes of one pipeline that run or wait for a GPU at once; more wait within it. */
  pipelineNodesAtOnce: 100,
  /** How long a pipeline may run in all, its nodes' waiting included. */
  pipelineMs: 24 * 3600 * 1000,
  /**
   * A value from the object store that a pipeline's own code may look at: it passes through Temporal, which
   * refuses 2 MiB.
   */
  pipelineValueBytesMax: 256 * 1024,
  /**
   * A value that a pipeline makes itself: a node's input, its own output. On its way to the object store it
   * passes through Temporal.
   */
  pipelineMadeBytesMax: 512 * 1024,
  /**
   * Larger values of one pipeline together that pass through Temporal, either way: beside 500 nodes' small
   * ones, history ends at 50 MiB.
   */
  pipelinePassedBytesMax: 12 * 1024 * 1024,
  /** A definition, as a plan: 500 nodes with a few KiB of text fit. It passes through Temporal once. */
  pipelinePlanBytesMax: 1024 * 1024,
  /** A node that runs for longer is listed while it runs. */
  nodeRecordAfterMs: 1_000,
  /** HTTP over WebSocket: payloads that wait for the one before them on one socket. */
  socketPayloadsMax: 100,
  /** Name of a node, in characters. */
  nodeIdCharactersMax: 128,
  /** What saves a pipeline: its definition, and what an editor keeps beside it. */
  pipelineBodyBytesMax: 2 * 1024 * 1024,
  /**
   * Fields of a definition's input, and parts of fields: what checks inputs is compiled from them, in half a
   * second for so many.
   */
  pipelineSchemaPartsMax: 128,
  /** The same of its output, which is only looked at. */
  pipelineOutputPartsMax: 1_000,
  /** Name and title of a saved pipeline, in characters, as fal has them (contract §11.3). */
  pipelineNameCharactersMax: 128,
  pipelineTitleCharactersMax: 256,
  /** Description of a saved pipeline, in characters. */
  pipelineDescriptionCharactersMax: 4096,
  /** Tags of a saved pipeline, and the characters of one. */
  pipelineTagsMax: 50,
  pipelineTagCharactersMax: 64,
  /** Saved pipelines of one owner, removed ones not counted. */
  pipelinesOfOwnerMax: 1000,
  /** How long a saved pipeline is remembered by a gateway when no notification arrives. */
  pipelineCacheMs: 10_000,
  /** Saved pipelines a gateway remembers; past that it forgets all and asks again. */
  pipelinesRememberedMax: 1000,
} as const;
