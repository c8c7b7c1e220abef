import type { IncomingMessage } from "node:http";
import { expect, it } from "vitest";
import { createRealtimeSocket } from "./realtime-socket.ts";

it("names the nearest model that is served when it refuses an unknown one", async () => {
  const api = {
    keyRing: { authenticate: async () => ({ ownerId: "ann", keyId: "k", scope: "API" }) },
    registry: {
      route: (endpoint: string) => (endpoint === "tempera/stub" ? {} : undefined),
      list: () => [{ endpoint: "tempera/stub" }],
      pipelines: () => [],
    },
    realtime: { sessionsMax: 1 },
  };
  const open = createRealtimeSocket(api as unknown as Parameters<typeof createRealtimeSocket>[0]);
  const query = new URLSearchParams();
  const request = { headers: {} } as IncomingMessage;
  await expect(open({ tree: "run", path: "/fal-ai/stub/realtime", query }, request)).rejects.toThrow(
    'Application "stub" not found; did you mean "tempera/stub"?',
  );
});
