/**
 * The import rules (docs/architecture/00-overview.md):
 *
 * `core` ← `registry`, `fal` ← `api` | `workflows` | `activities` | `gpu-workers` | `maintenance` ← `bin`,
 * `cli`, `dev`, `evaluation`. `adapters` implement ports of `core`; only the last four import `config` and
 * `adapters`.
 */
const INDEPENDENT_FOLDERS = ["api", "activities", "gpu-workers"];
const TEST = "\\.test\\.ts$";
/** Packages without I/O that `core` may use: hashes, distances of words, addresses, bounded maps, ids. */
const PURE_PACKAGES = ["@noble/hashes", "fastest-levenshtein", "ipaddr\\.js", "lru-cache", "uuid", "yaml"];
const only = (...folders) => `^src/(${folders.join("|")})/`;

/** Allows a folder of `src` to import from the folders `allowed`, and from no other of `src`. */
const sees = (folder, allowed, comment) => ({
  name: `${folder}-sees-only-${allowed.join("-")}`,
  comment,
  severity: "error",
  from: { path: only(folder), pathNot: TEST },
  to: { path: "^src/", pathNot: only(...allowed) },
});

module.exports = {
  forbidden: [
    sees("core", ["core"], "The domain terms depend on nothing else."),
    {
      name: "core-has-pure-packages-only",
      comment:
        "Domain terms are plain types and functions. They may use Node and the pure packages named here.",
      severity: "error",
      from: { path: "^src/core/", pathNot: TEST },
      to: {
        dependencyTypes: ["npm", "npm-dev", "npm-optional", "npm-peer", "npm-no-pkg", "npm-unknown"],
        pathNot: `(^|/)node_modules/(${PURE_PACKAGES.join("|")})/`,
      },
    },
    sees("registry", ["registry", "core"], "The list of callable endpoints needs no running service."),
    sees("fal", ["fal", "core"], "The translation between core and the wire is pure."),
    sees("adapters", ["adapters", "core"], "Each adapter implements ports of core with one driver."),
    sees(
      "config",
      ["config", "core"],
      "Configuration is a set of values; bin, cli and dev decide what is built from them.",
    ),
    ...INDEPENDENT_FOLDERS.map((folder) =>
      sees(
        folder,
        [folder, "core", "registry", "fal"],
        "These folders are combined only where processes are composed: bin, cli, dev.",
      ),
    ),
    sees(
      "maintenance",
      ["maintenance", "activities", "core", "registry", "fal"],
      "Periodic work runs beside the orchestrator; it may reuse the operations of activities.",
    ),
    sees(
      "workflows",
      ["workflows", "activities", "core", "registry", "fal"],
      "Workflow code is replayed in a sandbox; it may import the types of activities.",
    ),
    {
      name: "workflows-see-activities-as-types",
      comment:
        "Activities have side effects; replayed code names them and never loads them. Write `import type`.",
      severity: "error",
      from: { path: "^src/workflows/", pathNot: TEST },
      to: { path: "^src/activities/", dependencyTypesNot: ["type-only"] },
    },
    {
      name: "adapters-own-their-drivers",
      comment: "Only adapters use the drivers of PostgreSQL, Redis and S3.",
      severity: "error",
      from: { path: "^src/", pathNot: ["^src/(adapters|dev)/", TEST] },
      to: { path: "(^|/)node_modules/(postgres|ioredis|minio|dbmate)/" },
    },
    {
      name: "ffmpeg-in-engines-only",
      comment:
        "node-av contains FFmpeg under the GPL: only engine programs, separate processes, may load it.",
      severity: "error",
      from: { path: "^(src|tests|scripts)/", pathNot: "^src/gpu-workers/engines/" },
      to: { path: "node-av" },
    },
    {
      name: "source-does-not-see-tests",
      comment: "Shipped code does not depend on tests.",
      severity: "error",
      from: { path: "^src/", pathNot: TEST },
      to: { path: ["^tests/", TEST] },
    },
    {
      name: "conformance-suite-sees-no-source",
      comment: "The suite tests any server over the network, as a client does.",
      severity: "error",
      from: { path: "^tests/conformance/fal/" },
      to: { path: "^(src|tests/(?!conformance/fal/))" },
    },
    {
      name: "requests-see-pipelines",
      comment: "A request may be one of a pipeline, so `requests` imports `pipelines`, and not the reverse.",
      severity: "error",
      from: { path: "^src/api/pipelines/", pathNot: TEST },
      to: { path: "^src/api/requests/" },
    },
    {
      name: "no-cycles",
      comment: "Merge two files that import each other, or move the shared part to a third.",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    {
      name: "no-unresolvable",
      comment: "The imported file does not exist.",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: "no-undeclared-packages",
      comment:
        "A package that package.json does not list may be missing; a devDependency is absent in production.",
      severity: "error",
      from: { path: "^src/", pathNot: TEST },
      to: { dependencyTypes: ["npm-dev", "npm-no-pkg", "npm-unknown"] },
    },
  ],
  options: {
    // `import type` counts as an import.
    tsPreCompilationDeps: true,
    doNotFollow: { path: "node_modules" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "default", "types"],
      extensions: [".ts", ".mjs", ".js", ".cjs", ".json", ".d.ts"],
    },
  },
};
