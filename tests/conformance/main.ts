/** Runs the conformance suites: of fal's protocol, or with `--client` of one or all of its clients. */
if (process.argv.includes("--client")) await import("./clients/main.ts");
else await import("./fal/main.ts");
