/**
 * Runs the conformance suites: of fal's protocol, with `--client` of one or all of its clients, or with
 * `--generated` of the OpenAPI documents.
 */
if (process.argv.includes("--client")) await import("./clients/main.ts");
else if (process.argv.includes("--generated")) await import("./generated/main.ts");
else await import("./fal/main.ts");
