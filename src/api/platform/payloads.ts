import { z } from "@hono/zod-openapi";
import { errorInfo, TemperaError } from "../../core/errors/tempera-error.ts";
import { refsOf } from "../../core/job.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import { identityOf } from "../../core/request.ts";
import { retrieve } from "../../core/stored.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { namedFile } from "./own-files.ts";
import type { AddVerb } from "./verb.ts";

type Needs = Pick<
  ApiDependencies,
  "requestSearch" | "requests" | "objects" | "files" | "nodeResults" | "deliveries" | "events" | "jobs" | "log"
>;

/** What became of one file that an output names. */
const LINK = z.object({
  link: z.string(),
  exception: z.string().nullable().openapi({ description: "null: it is gone; else why it is not" }),
});

/** Deletes what a request took and gave (contract §10, case 158). */
export function addPayloadVerbs(add: AddVerb, api: Needs): void {
  add(
    {
      method: "delete",
      path: "/v1/models/requests/{request_id}/payloads",
      says: "Deletes input and output of a request that has ended, and the files it produced. Asked again it answers an empty list.",
      scope: "ADMIN",
      params: z.object({ request_id: z.string() }),
      audit: "requests.delete-payloads",
      answer: z.object({ cdn_delete_results: z.array(LINK) }),
      errors: ["request_unknown", "request_unfinished"],
    },
    async ({ params, change }) => {
      const record = await api.requests.find(params.request_id.toLowerCase());
      if (!record) throw new TemperaError("request_unknown");
      if (!record.outcome) throw new TemperaError("request_unfinished");
      const delivery = await api.deliveries.find(record.requestId);
      if (delivery?.delivery.state === "pending") {
        throw new TemperaError("request_unfinished", "The webhook of this request is still on its way; try again when it has arrived.");
      }
      return change({ subject: record.requestId, before: { endpoint_id: record.endpoint, owner: record.ownerId } }, async () => {
        const stored = (await api.requestSearch.payloads([record.requestId])).get(record.requestId);
        if (!stored) throw new TemperaError("request_unknown");
        const { job, outcome } = stored;
        // Bytes first, the record last: who was cut off half-way is asked again and finds what is left.
        const results: z.input<typeof LINK>[] = [];
        for (const link of outcome.ok ? await linksOf(api, outcome.output) : []) {
          results.push({ link, exception: await deleteFile(api, link, record) });
        }
        const refs = refsOf(job, outcome);
        // A dead letter that is tried again has the input of the first try, a rerun what its nodes gave.
        const elsewhere = await api.requestSearch.keysElsewhere(refs, record.requestId);
        for (const ref of refs) if (!elsewhere.has(ref)) await api.objects.delete(ref);
        await api.nodeResults.forgetMadeBy(record.requestId);
        await api.requestSearch.erasePayloads(record.requestId);
        // The event log and Temporal hold them as well. What is away now forgets them in its own time.
        const forgotten = await Promise.allSettled([api.events.drop(identityOf(record)), api.jobs.forget(record.requestId)]);
        for (const each of forgotten) {
          if (each.status === "rejected")
            api.log.warn({ requestId: record.requestId, err: errorInfo(each.reason) }, "a copy was not deleted");
        }
        return { after: { cdn_delete_results: results } as Json, result: { cdn_delete_results: results } };
      });
    },
  );
}

/** The addresses of files of ours that an output names, each once. Of an output that is gone, none. */
async function linksOf({ objects }: Needs, output: { inline: JsonObject } | { ref: string }): Promise<string[]> {
  if ("ref" in output && !(await objects.head(output.ref))) return [];
  const links = new Set<string>();
  const look = (value: Json): void => {
    if (typeof value === "string") {
      if (namedFile(value)) links.add(value);
    } else if (typeof value === "object" && value !== null) for (const each of Object.values(value)) look(each);
  };
  look(await retrieve<JsonObject>(objects, output));
  return [...links];
}

/** Deletes one file; returns why it stays, or `null`. */
async function deleteFile(
  { objects, files, requestSearch }: Needs,
  link: string,
  { requestId, ownerId }: { requestId: string; ownerId: string },
): Promise<string | null> {
  const named = namedFile(link);
  try {
    if (named?.kind === "artifact") {
      const shared = await requestSearch.namedElsewhere([named.sha256], requestId);
      if (shared.has(named.sha256)) return "Another request made the same bytes, or takes them as its input.";
      await objects.delete(named.key);
      return null;
    }
    const file = named && (await files.find(named.fileId));
    if (!named || !file) return null;
    if (file.ownerId !== ownerId) return "It is a file of another owner.";
    if (file.objectKey !== undefined) await objects.delete(file.objectKey);
    await files.remove([named.fileId]);
    return null;
  } catch (error) {
    return errorInfo(error).message;
  }
}
