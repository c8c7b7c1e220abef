#!/usr/bin/env node
/** The `tempera` command: `npx tempera …` in a clone, `tempera …` once linked. */
process.argv.splice(2, 0, "tempera");
await import("./run.mjs");
