/** An engine that the configuration names, and those that are built in. */

/** The engines that need no configuration. */
export const BUILT_IN_ENGINES = ["onnx", "diffusers", "stub"] as const;

export const ISOLATIONS = ["required", "best-effort", "off"] as const;

/** Degree to which engines are kept apart from the rest of the machine; see `docs/hardening.md`. */
export type Isolation = (typeof ISOLATIONS)[number];

/** A program of the operator's that serves models as an engine. */
export interface ConfiguredEngine {
  /** Absolute path of the program. */
  command: string;
  /** Arguments before the path of the socket. */
  args: readonly string[];
  /** Variables of the GPU worker's environment that it gets. None of them is a secret. */
  environment: readonly string[];
  /** Its own isolation; absent: that of all engines. */
  isolation?: Isolation | undefined;
  /** Absolute paths of the files and folders that it may read when it is isolated. */
  readable: readonly string[];
  /** Device files, below `/dev`, that it may open when it is isolated. */
  devices: readonly string[];
  /** The kinds of inference that it has; absent: not known before it runs. */
  runners?: readonly string[] | undefined;
}

/** The engines of a configuration, by the name that a manifest gives in `engine:`. */
export type ConfiguredEngines = Readonly<Record<string, ConfiguredEngine>>;
