import { z } from "@hono/zod-openapi";
import { errorInfo, TemperaError } from "../../../../core/errors/tempera-error.ts";
import { type FileRecord, producedFileId } from "../../../../core/files/file.ts";
import { refsOf } from "../../../../core/requests/job.ts";
import type { Json, JsonObject } from "../../../../core/json/json.ts";
import { PIPELINE_QUEUE } from "../../../../core/pipelines/pipeline.ts";
import type { RequestRecord } from "../../../../core/requests/request-store.ts";
import { identityOf, isRequestId } from "../../../../core/requests/request.ts";
import { retrieve } from "../../../../core/files/stored-value.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { namedFile } from "../files/named-file.ts";
import type { AddVerb } from "../../http/route.ts";

type Needs = Pick<
  ApiDependencies,
  | "requestSearch"
  | "requests"
  | "retention"
  | "objects"
  | "files"
  | "nodeResults"
  | "deliveries"
  | "events"
  | "jobs"
  | "log"
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
      says: "Deletes input and output of a request that has ended, of its nodes when it is a pipeline's, and the files they produced. Asked again it answers an empty list.",
      scope: "ADMIN",
      params: z.object({ request_id: z.string() }),
      audit: "requests.delete-payloads",
      answer: z.object({ cdn_delete_results: z.array(LINK) }),
      errors: ["request_unknown", "request_unfinished"],
    },
    async ({ params, change }) => {
      const requestId = params.request_id.toLowerCase();
      const record = await api.requests.find(requestId);
      if (!record)
        throw new TemperaError((await isUnderWay(api, requestId)) ? "request_unfinished" : "request_unknown");
      await refuseWanted(api, record);
      return change(
        { subject: record.requestId, before: { endpoint_id: record.endpoint, owner: record.ownerId } },
        async () => {
          // What a pipeline took and gave stands with its nodes as well, which are requests of their own.
          const records = [record, ...(await nodesBelow(api, record.requestId))];
          const ids = records.map(({ requestId }) => requestId);
          const stored = await api.requestSearch.payloads(ids);
          if (!stored.has(record.requestId)) throw new TemperaError("request_unknown");
          // Bytes first, the records last: who was cut off half-way is asked again and finds what is left.
          const links = new Map<string, string[]>();
          for (const [requestId, { outcome }] of stored) {
            if (!outcome.ok) continue;
            for (const link of await linksOf(api, outcome.output))
              links.set(link, [...(links.get(link) ?? []), requestId]);
          }
          const results: z.input<typeof LINK>[] = [];
          for (const [link, namedBy] of links)
            results.push({
              link,
              exception: await deleteFile(api, link, { all: ids, namedBy, ownerId: record.ownerId }),
            });
          for (const requestId of ids) await api.nodeResults.forgetMadeBy(requestId);
          const refs = [...new Set([...stored.values()].flatMap(({ job, outcome }) => refsOf(job, outcome)))];
          // A rerun, a retry of a dead letter and a node that did not run name what is another request's.
          const shared = await api.retention.named(refs, ids);
          for (const ref of refs) if (!shared.has(ref)) await api.objects.delete(ref);
          for (const each of records.reverse()) await forget(api, each);
          return { after: { cdn_delete_results: results } as Json, result: { cdn_delete_results: results } };
        },
      );
    },
  );
}

/** Whether a request that has no record is known all the same: its record is on its way. */
async function isUnderWay({ events, jobs }: Needs, requestId: string): Promise<boolean> {
  if (!isRequestId(requestId)) return false;
  const snapshot = await events.snapshot(requestId).catch(() => undefined);
  return (snapshot ?? (await jobs.describe(requestId))) !== undefined;
}

/** Throws `request_unfinished` while somebody needs what a request took or gave. */
async function refuseWanted(api: Needs, { requestId, outcome, node }: RequestRecord): Promise<void> {
  if (!outcome) throw new TemperaError("request_unfinished");
  const delivery = await api.deliveries.find(requestId);
  if (delivery?.delivery.state === "pending") {
    throw new TemperaError(
      "request_unfinished",
      "The webhook of this request is still on its way; try again when it has arrived.",
    );
  }
  const pipeline = node && (await api.requests.find(node.pipelineId));
  if (pipeline && !pipeline.outcome)
    throw new TemperaError(
      "request_unfinished",
      `This is a node of ${pipeline.requestId}, which still runs; try again when that has ended.`,
    );
}

/** The nodes of a pipeline, and theirs; of another request none. */
async function nodesBelow(api: Needs, requestId: string): Promise<RequestRecord[]> {
  const nodes = (await api.requests.nodes(requestId)).filter(({ outcome }) => outcome !== undefined);
  const below: RequestRecord[] = [];
  for (const node of nodes)
    below.push(node, ...(node.taskQueue === PIPELINE_QUEUE ? await nodesBelow(api, node.requestId) : []));
  return below;
}

/**
 * Takes input and output out of a record. The event log and Temporal hold them as well: what is away now
 * forgets them in its own time.
 */
async function forget(api: Needs, record: RequestRecord): Promise<void> {
  await api.requestSearch.erasePayloads(record.requestId);
  const forgotten = await Promise.allSettled([
    api.events.drop(identityOf(record)),
    api.jobs.forget(record.requestId),
  ]);
  for (const each of forgotten) {
    if (each.status === "rejected")
      api.log.warn({ requestId: record.requestId, err: errorInfo(each.reason) }, "a copy was not deleted");
  }
}

/** The addresses of files of ours that an output names, each once. Of an output that is gone, none. */
async function linksOf(
  { objects }: Needs,
  output: { inline: JsonObject } | { ref: string },
): Promise<string[]> {
  if ("ref" in output && !(await objects.head(output.ref))) return [];
  const links = new Set<string>();
  const look = (value: Json): void => {
    if (typeof value === "string") {
      if (namedFile(value)) links.add(value);
    } else if (typeof value === "object" && value !== null)
      for (const each of Object.values(value)) look(each);
  };
  look(await retrieve<JsonObject>(objects, output));
  return [...links];
}

/**
 * Deletes one file that outputs name, when it was these requests that made it; returns why it stays, or
 * `null`.
 *
 * @param all what is being deleted
 * @param namedBy those of them whose outputs name it
 */
async function deleteFile(
  { objects, files, requestSearch }: Needs,
  link: string,
  { all, namedBy, ownerId }: { all: string[]; namedBy: string[]; ownerId: string },
): Promise<string | null> {
  const named = namedFile(link);
  try {
    if (named?.kind === "artifact") {
      const shared = await requestSearch.namedElsewhere([named.sha256], all);
      if (shared.has(named.sha256)) return "Another request made the same bytes, or takes them as its input.";
      await objects.delete(named.key);
      return null;
    }
    const file = named && (await files.find(named.fileId));
    if (!named || !file) return null;
    if (file.ownerId !== ownerId) return "It is a file of another owner.";
    if (!madeBy(namedBy, file)) return "It was uploaded, or another request made it.";
    if (file.objectKey !== undefined) await objects.delete(file.objectKey);
    await files.remove([named.fileId]);
    return null;
  } catch (error) {
    return errorInfo(error).message;
  }
}

/** Files of one output that are told from others. */
const FILES_MAX = 1_000;

/**
 * Whether one of these requests made a file: its id is made of the request, its place among the files and its
 * bytes.
 */
const madeBy = (requestIds: string[], { fileId, stored }: FileRecord): boolean =>
  stored !== undefined &&
  requestIds.some((requestId) => {
    for (let index = 0; index < FILES_MAX; index++)
      if (producedFileId(requestId, index, stored.etag) === fileId) return true;
    return false;
  });
