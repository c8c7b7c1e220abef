/** The gateway with everything at its door open: no key is looked at, no limit counted. `bench:limits` measures the other one beside it. */
import { startGateway } from "../../src/bin/gateway.ts";
import { runRole } from "../../src/bin/role.ts";

const CALLER = { ownerId: "open", keyId: "open", scope: "API" as const };

await runRole("open gateway", (parts) =>
  startGateway(parts, {
    keyRing: { authenticate: async () => CALLER, recall: async () => CALLER },
    limits: {
      of: async () => ({ owner: {}, key: {} }),
      call: async () => {},
      queue: async () => undefined,
      upload: async () => () => {},
    },
  }),
);
