/**
 * One process with two gateways of the same parts: everything at the door of the one, nothing at that of the
 * other. No key is looked at there, no limit counted, no flag read; routes, registry, stores and everything
 * behind the door are the same objects.
 */
import { startGateway } from "../../src/bin/gateway.ts";
import { runRole } from "../../src/bin/role.ts";

const CALLER = { ownerId: "open", keyId: "open", scope: "API" as const };

await runRole("two doors", async (parts) => {
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
        call: async () => {},
        queue: async () => undefined,
        spend: async () => undefined,
        upload: async () => () => {},
      },
    },
  );
  return {
    async stop() {
      await open.stop();
      await guarded.stop();
    },
  };
});
