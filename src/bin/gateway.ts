import { createJobs } from "../adapters/temporal/jobs.ts";
import { createGateway } from "../api/gateway.ts";
import { createKeyRing } from "../api/key-ring.ts";
import { listen } from "../api/serve.ts";
import { createTokens } from "../api/tokens.ts";
import { systemClock } from "../core/ports/clock.ts";
import type { Parts } from "./parts.ts";
import { isMain, type Role, runRole } from "./role.ts";

/** How long open answers and streams may take to end after a stop. */
const GRACE_MS = 2_000;

/** The public HTTP service. */
export async function startGateway(parts: Parts): Promise<Role & { port: number }> {
  const { config } = parts;
  const keyRing = await createKeyRing({ keys: parts.keys, clock: systemClock });
  const app = createGateway({
    ...parts,
    keyRing,
    tokens: createTokens({ secret: await parts.secrets.secret("tokens"), keyRing, clock: systemClock }),
    jobs: createJobs(parts.client),
    clock: systemClock,
    bodyBytesMax: config.server.bodyBytesMax,
    publicUrl: config.server.publicUrl?.replace(/\/+$/, ""),
  });
  const server = await listen(app, { host: config.server.host, port: config.server.port, name: "gateway", setting: "TEMPERA_PORT" });
  return {
    port: server.port,
    stop: async () => {
      await server.stop(GRACE_MS);
      await keyRing[Symbol.asyncDispose]();
    },
  };
}

if (isMain(import.meta.url)) await runRole("gateway", startGateway);
