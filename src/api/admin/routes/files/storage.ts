/**
 * The admin API of files: access lists, signed URLs, and the settings of new files. Callers manage their own
 * files here; keys of scope ADMIN manage everybody's.
 */
import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { fileUrl } from "../../../../core/files/file.ts";
import type { Acl, Lifecycle } from "../../../../core/files/lifecycle.ts";
import { createSignatures } from "../../../../core/files/signatures.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { Caller } from "../../../auth/key-ring.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { createFindReadable } from "../../../files/readable.ts";
import { filesAddressOf } from "../../../http/address.ts";
import { etag } from "../../http/etag.ts";
import { type AddRoute, Reply } from "../../http/route.ts";
import { type NamedFile, namedFile } from "./named-file.ts";

const DECISION = z.enum(["allow", "forbid", "hide"]);
const RULE = z.object({ user: z.string().min(1).max(LIMITS.aclUserCharactersMax), decision: DECISION });
const ACL = z.object({ default: DECISION, rules: z.array(RULE) }).openapi("Acl", {
  description:
    "forbid replies with 403, hide with 404. The file's owner can always read it. `user` is an owner " +
    "of keys.",
});
const NEW_ACL = z.strictObject({ default: DECISION, rules: z.array(RULE).max(LIMITS.aclRulesMax).nullish() });

const SETTINGS = z
  .object({
    expiration_duration_seconds: z.number().nullable().openapi({ description: "null: files never expire" }),
    initial_acl: z.union([ACL, z.null()]),
  })
  .openapi("StorageSettings");
const NEW_SETTINGS = z.strictObject({
  expiration_duration_seconds: z.number().positive().max(LIMITS.fileLifetimeSecondsMax).nullish(),
  initial_acl: NEW_ACL.nullish(),
});

const FILE_QUERY = z.object({ url: z.string().max(2048).openapi({ description: "The URL of the file." }) });

const PUBLIC: Acl = { default: "allow", rules: [] };

const settingsBody = ({ lifetimeSeconds, acl }: Lifecycle): z.input<typeof SETTINGS> => ({
  expiration_duration_seconds: lifetimeSeconds ?? null,
  initial_acl: acl ?? null,
});

const aclOf = ({ default: otherwise, rules }: z.output<typeof NEW_ACL>): Acl => ({
  default: otherwise,
  rules: rules ?? [],
});

/** Throws `file_unknown` for a URL that names no file of this platform. */
const fileOf = (url: string): NamedFile => {
  const named = namedFile(url);
  if (!named) throw new TemperaError("file_unknown");
  return named;
};

type Dependencies = Pick<
  ApiDependencies,
  "storage" | "files" | "objects" | "clock" | "uploadSecret" | "publicUrl" | "filesUrl"
>;

/** Adds the routes of access lists, signed URLs and storage settings (contract §6.3, §10). */
export function addStorageRoutes(addRoute: AddRoute, api: Dependencies): void {
  addAclRoutes(addRoute, api);
  addSignRoute(addRoute, api);
  addSettingsRoutes(addRoute, api);
}

/**
 * Finds a file with a record that the caller may manage.
 *
 * Rejects with `input_invalid` for an artifact, which has no access list, and with `file_unknown` for another
 * owner's file.
 */
async function managedFile({ storage }: Dependencies, url: string, caller: Caller) {
  const named = fileOf(url);
  if (named.kind === "artifact") {
    const msg =
      "This file is named by its content and open to everybody who has its URL; " +
      "request an access list in the call that makes the file";
    throw new TemperaError("input_invalid", `url: ${msg}`, {
      faults: [{ loc: ["query", "url"], msg, type: "value_error" }],
    });
  }
  const found = await storage.aclOf(named.fileId);
  if (!found || (found.value.ownerId !== caller.ownerId && caller.scope !== "ADMIN"))
    throw new TemperaError("file_unknown");
  return { fileId: named.fileId, acl: found.value.acl ?? PUBLIC, revision: found.revision };
}

function addAclRoutes(addRoute: AddRoute, api: Dependencies): void {
  addRoute(
    {
      method: "get",
      path: "/v1/storage/files/acl",
      summary: "Shows the access list of one of the caller's files.",
      scope: "API",
      query: FILE_QUERY,
      response: ACL,
      errors: ["file_unknown"],
    },
    async ({ query, caller }) => {
      const named = fileOf(query.url);
      if (named.kind === "artifact") {
        if (!(await api.objects.head(named.key))) throw new TemperaError("file_unknown");
        return PUBLIC;
      }
      const { acl, revision } = await managedFile(api, query.url, caller);
      return new Reply(acl, etag(revision));
    },
  );

  addRoute(
    {
      method: "put",
      path: "/v1/storage/files/acl",
      summary:
        "Replaces the access list of one of the caller's files. HTTP caches may keep copies of a " +
        "public file.",
      scope: "API",
      query: FILE_QUERY,
      body: NEW_ACL,
      ifMatch: "optional",
      audit: "files.acl",
      response: ACL,
      errors: ["file_unknown"],
    },
    async ({ query, body, caller, revision, change }) => {
      const { fileId, acl: before } = await managedFile(api, query.url, caller);
      return change({ subject: fileId, before: { ...before } }, async () => {
        const set = await api.storage.setAcl(fileId, aclOf(body), revision);
        return { after: { ...set.value }, result: new Reply(set.value, etag(set.revision)) };
      });
    },
  );
}

function addSignRoute(addRoute: AddRoute, api: Dependencies): void {
  const { files, objects, clock, uploadSecret } = api;
  const findReadable = createFindReadable({ files, clock });
  addRoute(
    {
      method: "post",
      path: "/v1/storage/files/sign",
      summary:
        "Makes a URL that reads a file on the caller's behalf for a limited time. It cannot be revoked.",
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
      response: z.object({ signed_url: z.string() }),
      errors: ["file_unknown", "file_forbidden"],
    },
    async ({ c, query, body, caller }) => {
      const named = fileOf(query.url);
      const root = filesAddressOf(c, api);
      if (named.kind === "artifact") {
        // Everybody may read an artifact without a time limit, so its own URL serves as the signed one.
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
}

function addSettingsRoutes(addRoute: AddRoute, { storage }: Dependencies): void {
  addRoute(
    {
      method: "get",
      path: "/v1/storage/settings",
      summary:
        "Shows the settings of the caller's new files, which apply when a call states none of its own.",
      scope: "API",
      response: SETTINGS,
    },
    async ({ caller }) => {
      const { value, revision } = await storage.defaultsOf(caller.ownerId);
      return new Reply(settingsBody(value), etag(revision));
    },
  );

  addRoute(
    {
      method: "put",
      path: "/v1/storage/settings",
      summary: "Replaces the settings of the caller's new files. An absent field returns to its default.",
      scope: "API",
      body: NEW_SETTINGS,
      ifMatch: "optional",
      audit: "storage.settings",
      response: SETTINGS,
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
        return { after, result: new Reply(after, etag(set.revision)) };
      });
    },
  );
}
