/**
 * One process with two gateways of the same parts: one with all checks of a caller, one without. The open one
 * reads no key and no flag and counts no limit; routes, registry, stores and everything after the checks are
 * the same objects.
 */
import { startGateway } from "../../src/bin/gateway.ts";
import type { Parts } from "../../src/bin/parts.ts";
import { type Role, runRole } from "../../src/bin/role.ts";

const CALLER = { ownerId: "open", keyId: "open", scope: "API" as const };

async function startBoth(parts: Parts): Promise<Role> {
  const { config } = parts;
  const guarded = await startGateway(parts);
  const open = await startGateway(
    {
      ...parts,
      config: { ...config, server: { ...config.server, port: Number(process.env.BENCH_OPEN_PORT) } },
    },
    {
      keyRing: { authenticate: async () => CALLER, recall: async () => CALLER },
      flags: { isOn: () => true },
      limits: {
        of: async () => ({ owner: {}, key: {} }),
        countCall: async () => {},
        reserveQueued: async () => undefined,
        reserveSpend: async () => undefined,
        checkStorage: async () => {},
        countUploadBytes: async () => () => {},
      },
    },
  );
  return {
    async stop() {
      await open.stop();
      await guarded.stop();
    },
  };
}

await runRole({ name: "gateway", start: startBoth });
