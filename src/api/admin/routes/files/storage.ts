import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { fileUrl } from "../../../../core/files/file.ts";
import type { Acl, Lifecycle } from "../../../../core/files/lifecycle.ts";
import { LIMITS } from "../../../../core/limits.ts";
import { addressOf } from "../../../http/address.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { createFindReadable } from "../../../files/readable.ts";
import { createSignatures } from "../../../files/signatures.ts";
import type { Caller } from "../../../auth/key-ring.ts";
import { type NamedFile, namedFile } from "./named-file.ts";
import { etag } from "../../http/etag.ts";
import { type AddVerb, Answered } from "../../http/route.ts";

const DECISION = z.enum(["allow", "forbid", "hide"]);
const RULE = z.object({ user: z.string().min(1).max(LIMITS.aclUserCharactersMax), decision: DECISION });
const ACL = z.object({ default: DECISION, rules: z.array(RULE) }).openapi("Acl", {
  description: "forbid answers 403, hide 404; the file's owner always may. `user` is the owner of a key.",
});
const NEW_ACL = z.strictObject({ default: DECISION, rules: z.array(RULE).max(LIMITS.aclRulesMax).nullish() });

const SETTINGS = z
  .object({
    expiration_duration_seconds: z.number().nullable().openapi({ description: "null: for ever" }),
    initial_acl: ACL.nullable(),
  })
  .openapi("StorageSettings");
const NEW_SETTINGS = z.strictObject({
  expiration_duration_seconds: z.number().positive().max(LIMITS.fileLifetimeSecondsMax).nullish(),
  initial_acl: NEW_ACL.nullish(),
});

const FILE_QUERY = z.object({ url: z.string().max(2048).openapi({ description: "The file's address." }) });

const PUBLIC: Acl = { default: "allow", rules: [] };

const settingsBody = ({ lifetimeSeconds, acl }: Lifecycle): z.input<typeof SETTINGS> => ({
  expiration_duration_seconds: lifetimeSeconds ?? null,
  initial_acl: acl ?? null,
});

const aclOf = ({ default: otherwise, rules }: z.output<typeof NEW_ACL>): Acl => ({
  default: otherwise,
  rules: rules ?? [],
});

const fileOf = (url: string): NamedFile => {
  const named = namedFile(url);
  if (!named) throw new TemperaError("file_unknown");
  return named;
};

/** Who may read which file, and what new files get (contract §6.3, §10). */
export function addStorageVerbs(
  add: AddVerb,
  {
    storage,
    files,
    objects,
    clock,
    uploadSecret,
    publicUrl,
  }: Pick<ApiDependencies, "storage" | "files" | "objects" | "clock" | "uploadSecret" | "publicUrl">,
): void {
  /** A file with a record that this caller may manage. Another owner's is not there. */
  const managed = async (url: string, caller: Caller) => {
    const named = fileOf(url);
    if (named.kind === "artifact") {
      const msg =
        "This file is found by its content alone and open to whoever has its address; ask for an access list when it is made";
      throw new TemperaError("input_invalid", `url: ${msg}`, {
        faults: [{ loc: ["query", "url"], msg, type: "value_error" }],
      });
    }
    const found = await storage.aclOf(named.fileId);
    if (!found || (found.value.ownerId !== caller.ownerId && caller.scope !== "ADMIN"))
      throw new TemperaError("file_unknown");
    return { fileId: named.fileId, acl: found.value.acl ?? PUBLIC, revision: found.revision };
  };

  add(
    {
      method: "get",
      path: "/v1/storage/files/acl",
      says: "Tells who may read a file of the caller's.",
      scope: "API",
      query: FILE_QUERY,
      answer: ACL,
      errors: ["file_unknown"],
    },
    async ({ query, caller }) => {
      const named = fileOf(query.url);
      if (named.kind === "artifact") {
        if (!(await objects.head(named.key))) throw new TemperaError("file_unknown");
        return PUBLIC;
      }
      const { acl, revision } = await managed(query.url, caller);
      return new Answered(acl, etag(revision));
    },
  );

  add(
    {
      method: "put",
      path: "/v1/storage/files/acl",
      says: "Replaces who may read a file of the caller's. Caches that hold a public file are not told.",
      scope: "API",
      query: FILE_QUERY,
      body: NEW_ACL,
      ifMatch: "optional",
      audit: "files.acl",
      answer: ACL,
      errors: ["file_unknown"],
    },
    async ({ query, body, caller, revision, change }) => {
      const { fileId, acl: before } = await managed(query.url, caller);
      return change({ subject: fileId, before: { ...before } }, async () => {
        const set = await storage.setAcl(fileId, aclOf(body), revision);
        return { after: { ...set.value }, result: new Answered(set.value, etag(set.revision)) };
      });
    },
  );

  const findReadable = createFindReadable({ files, clock });
  add(
    {
      method: "post",
      path: "/v1/storage/files/sign",
      says: "Makes an address that reads a file on the caller's behalf for some time. It cannot be taken back.",
      scope: "API",
      query: FILE_QUERY,
      body: z.strictObject({
        expiration_seconds: z
          .number()
          .positive()
          .max(LIMITS.signedAddressSecondsMax, `Input should be at most ${LIMITS.signedAddressSecondsMax}`)
          .default(3600),
      }),
      audit: null,
      answer: z.object({ signed_url: z.string() }),
      errors: ["file_unknown", "file_forbidden"],
    },
    async ({ c, query, body, caller }) => {
      const named = fileOf(query.url);
      const root = addressOf(c, "files", publicUrl);
      if (named.kind === "artifact") {
        // Everybody may read it, for ever: its address is the signed one.
        if (!(await objects.head(named.key))) throw new TemperaError("file_unknown");
        return { signed_url: `${root}/${named.path}` };
      }
      const file = await findReadable(named.fileId, async () => [caller.ownerId]);
      if (file.name !== named.name) throw new TemperaError("file_unknown");
      const untilMs = clock.nowMs() + body.expiration_seconds * 1000;
      const signatures = createSignatures({ secret: uploadSecret, clock });
      return {
        signed_url: fileUrl(root, file) + signatures.identityQuery(file.fileId, caller.ownerId, untilMs),
      };
    },
  );

  add(
    {
      method: "get",
      path: "/v1/storage/settings",
      says: "Tells what new files of the caller's get when the call that makes them says nothing.",
      scope: "API",
      answer: SETTINGS,
    },
    async ({ caller }) => {
      const { value, revision } = await storage.defaultsOf(caller.ownerId);
      return new Answered(settingsBody(value), etag(revision));
    },
  );

  add(
    {
      method: "put",
      path: "/v1/storage/settings",
      says: "Replaces all of them; what is absent is as if it had never been set.",
      scope: "API",
      body: NEW_SETTINGS,
      ifMatch: "optional",
      audit: "storage.settings",
      answer: SETTINGS,
    },
    async ({ body: { expiration_duration_seconds, initial_acl }, caller, revision, change }) => {
      const before = settingsBody((await storage.defaultsOf(caller.ownerId)).value);
      return change({ subject: caller.ownerId, before }, async () => {
        const defaults: Lifecycle = {
          ...(typeof expiration_duration_seconds === "number" && {
            lifetimeSeconds: expiration_duration_seconds,
          }),
          ...(initial_acl && { acl: aclOf(initial_acl) }),
        };
        const set = await storage.setDefaults(caller.ownerId, defaults, revision);
        const after = settingsBody(set.value);
        return { after, result: new Answered(after, etag(set.revision)) };
      });
    },
  );
}
