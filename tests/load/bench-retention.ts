/** `npm run bench:retention`: the deletion of expired records must not slow down running jobs. */
import { connectPostgres } from "../../src/adapters/postgres/connection.ts";
import { runBench } from "./harness.ts";
import { measureRetention } from "./retention-measure.ts";

await runBench(
  "bench:retention",
  "jobs while 100,000 expired records are deleted, beside jobs without",
  async (bench) => {
    const { url, adminUrl, databaseUrl } = await bench.startPlatform({
      TEMPERA_RETENTION_EVERY_SECONDS: "86400",
    });
    const sql = connectPostgres(databaseUrl, { maxConnections: 2 });
    bench.closing.defer(() => sql.end({ timeout: 2 }));
    bench.report({ retention: await measureRetention(bench, { url, adminUrl, sql }) });
  },
);
