/**
 * The import rules (docs/architecture/00-overview.md):
 *
 * `core` ← `registry`, `fal` ← `api` | `workflows` | `activities` | `gpu-workers` ← `bin`, `cli`, `dev`.
 * `adapters` implement ports of `core`; `config` is seen by `bin`, `cli` and `dev` only.
 */
const ROOMS = ["api", "workflows", "activities", "gpu-workers"];
const TEST = "\\.test\\.ts$";
/** Packages without I/O that `core` may use: hashes, addresses, bounded maps, identifiers. */
const PURE_PACKAGES = ["@noble/hashes", "ipaddr\\.js", "lru-cache", "uuid"];
const only = (...rooms) => `^src/(${rooms.join("|")})/`;

/** A room may import what is named, and nothing else of `src`. */
const sees = (room, allowed, comment) => ({
  name: `${room}-sees-only-${allowed.join("-")}`,
  comment,
  severity: "error",
  from: { path: only(room), pathNot: TEST },
  to: { path: "^src/", pathNot: only(...allowed) },
});

module.exports = {
  forbidden: [
    sees("core", ["core"], "The nouns depend on nothing."),
    {
      name: "core-has-pure-packages-only",
      comment:
        "The nouns are plain types and functions: of Node, and of packages, only what is pure and named here.",
      severity: "error",
      from: { path: "^src/core/", pathNot: TEST },
      to: {
        dependencyTypes: ["npm", "npm-dev", "npm-optional", "npm-peer", "npm-no-pkg", "npm-unknown"],
        pathNot: `(^|/)node_modules/(${PURE_PACKAGES.join("|")})/`,
      },
    },
    sees("registry", ["registry", "core"], "What can be called is known without any service."),
    sees("fal", ["fal", "core"], "Translation between core and the wire is pure."),
    sees("adapters", ["adapters", "core"], "Adapters implement ports of core over one driver each."),
    sees(
      "config",
      ["config", "core"],
      "Configuration is values; what is made of them is the business of bin, cli and dev.",
    ),
    ...ROOMS.filter((room) => room !== "workflows").map((room) =>
      sees(
        room,
        [room, "core", "registry", "fal"],
        "The rooms are joined only where processes are composed: bin, cli, dev.",
      ),
    ),
    sees(
      "workflows",
      ["workflows", "activities", "core", "registry", "fal"],
      "Workflow code is replayed in a sandbox; of other rooms it sees types of activities.",
    ),
    {
      name: "workflows-see-activities-as-types",
      comment:
        "Activities do things to the world; replayed code names them and never loads them. Write `import type`.",
      severity: "error",
      from: { path: "^src/workflows/", pathNot: TEST },
      to: { path: "^src/activities/", dependencyTypesNot: ["type-only"] },
    },
    {
      name: "adapters-own-their-drivers",
      comment: "One room knows how PostgreSQL, Redis and S3 are spoken to.",
      severity: "error",
      from: { path: "^src/", pathNot: ["^src/(adapters|dev)/", TEST] },
      to: { path: "(^|/)node_modules/(postgres|ioredis|minio|dbmate)/" },
    },
    {
      name: "ffmpeg-in-engines-only",
      comment:
        "node-av carries FFmpeg under the GPL: only engine programs, processes of their own, may load it.",
      severity: "error",
      from: { path: "^(src|tests|scripts)/", pathNot: "^src/gpu-workers/engines/" },
      to: { path: "node-av" },
    },
    {
      name: "source-does-not-see-tests",
      comment: "What ships does not depend on what checks it.",
      severity: "error",
      from: { path: "^src/", pathNot: TEST },
      to: { path: ["^tests/", TEST] },
    },
    {
      name: "conformance-suite-sees-no-source",
      comment: "It judges any server over the network, as its clients see it.",
      severity: "error",
      from: { path: "^tests/conformance/fal/" },
      to: { path: "^(src|tests/(?!conformance/fal/))" },
    },
    {
      name: "no-cycles",
      comment: "Two files that need one another are one file, or lack a third.",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    {
      name: "no-unresolvable",
      comment: "An import that leads nowhere.",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: "no-undeclared-packages",
      comment:
        "A package that package.json does not name is there by luck; one for development is absent in production.",
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
