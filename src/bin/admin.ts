import { createHash } from "node:crypto";
import { createAdmin } from "../api/admin.ts";
import { createKeyRing } from "../api/key-ring.ts";
import { listen } from "../api/serve.ts";
import { systemClock } from "../core/ports/clock.ts";
import type { Parts } from "./parts.ts";
import { isMain, type Role, runRole } from "./role.ts";

const GRACE_MS = 2_000;

/** The Admin REST service, on a port of its own. Makes the configured admin key exist first. */
export async function startAdmin(parts: Parts): Promise<Role & { port: number }> {
  const { config, keys } = parts;
  if (config.keys.admin) await ensureAdminKey(parts, config.keys.admin);
  const keyRing = await createKeyRing({ keys, clock: systemClock });
  const app = createAdmin({ ...parts, keyRing, clock: systemClock });
  const server = await listen(app, {
    host: config.server.host,
    port: config.server.adminPort,
    name: "admin",
    setting: "TEMPERA_ADMIN_PORT",
  });
  return {
    port: server.port,
    stop: async () => {
      await server.stop(GRACE_MS);
      await keyRing[Symbol.asyncDispose]();
    },
  };
}

/** Inserts the key `<uuid>:<secret>` with scope ADMIN unless a key of that id is there. */
export async function ensureAdminKey({ keys }: Pick<Parts, "keys">, credential: string): Promise<void> {
  const [keyId = "", secret = ""] = credential.split(":");
  if (await keys.find(keyId.toLowerCase())) return;
  await keys.insert({
    keyId: keyId.toLowerCase(),
    ownerId: "admin",
    alias: "first key",
    scope: "ADMIN",
    secretSha256: createHash("sha256").update(secret).digest("hex"),
    createdAtMs: systemClock.nowMs(),
  });
}

if (isMain(import.meta.url)) await runRole("admin", startAdmin);
