import { z } from "@hono/zod-openapi";
import { errorInfo, TemperaError } from "../../../../core/errors/tempera-error.ts";
import { deleteCounted } from "../../../../core/files/counted-object.ts";
import { type FileRecord, producedFileId } from "../../../../core/files/file.ts";
import { retrieve } from "../../../../core/files/stored-value.ts";
import type { Json, JsonObject } from "../../../../core/json/json.ts";
import { PIPELINE_QUEUE } from "../../../../core/pipelines/pipeline.ts";
import { refsOf } from "../../../../core/requests/job.ts";
import { identityOf, isRequestId } from "../../../../core/requests/request.ts";
import type { RequestRecord } from "../../../../core/requests/request-store.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import type { AddRoute } from "../../http/route.ts";
import { namedFile } from "../files/named-file.ts";

type Dependencies = Pick<
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

/** The result of the deletion of one file that an output names. */
const LINK = z.object({
  link: z.string(),
  exception: z
    .string()
    .nullable()
    .openapi({ description: "null: the file is deleted; otherwise the reason why it stays" }),
});

/** Adds the route that deletes the input, the output and the files of a request (contract §10, case 158). */
export function addPayloadRoutes(addRoute: AddRoute, api: Dependencies): void {
  addRoute(
    {
      method: "delete",
      path: "/v1/models/requests/{request_id}/payloads",
      summary:
        "Deletes the input and the output of an ended request and the files that it produced; " +
        "of a pipeline, also those of its nodes. A repeated call returns an empty list.",
      scope: "ADMIN",
      params: z.object({ request_id: z.string() }),
      audit: "requests.delete-payloads",
      response: z.object({ cdn_delete_results: z.array(LINK) }),
      errors: ["request_unknown", "request_unfinished"],
    },
    async ({ params, change }) => {
      const requestId = params.request_id.toLowerCase();
      const record = await api.requests.find(requestId);
      if (!record)
        throw new TemperaError((await isUnderWay(api, requestId)) ? "request_unfinished" : "request_unknown");
      await assertDeletable(api, record);
      const before = { endpoint_id: record.endpoint, owner: record.ownerId };
      return change({ subject: record.requestId, before }, async () => {
        const results = await deletePayloads(api, record);
        return { after: { cdn_delete_results: results } as Json, result: { cdn_delete_results: results } };
      });
    },
  );
}

/** Deletes the payloads of a request and of all nodes below it; returns a result for each file. */
async function deletePayloads(api: Dependencies, record: RequestRecord): Promise<z.input<typeof LINK>[]> {
  // The nodes of a pipeline are requests with payloads of their own.
  const records = [record, ...(await nodesBelow(api, record.requestId))];
  const ids = records.map(({ requestId }) => requestId);
  const stored = await api.requestSearch.payloads(ids);
  if (!stored.has(record.requestId)) throw new TemperaError("request_unknown");
  // Bytes go first and the records last, so that a call after a failure finds what is left.
  const links = new Map<string, string[]>();
  for (const [requestId, { outcome }] of stored) {
    if (!outcome.ok) continue;
    for (const link of await linksOf(api, outcome.output))
      links.set(link, [...(links.get(link) ?? []), requestId]);
  }
  const results: z.input<typeof LINK>[] = [];
  for (const [link, namedBy] of links) {
    const exception = await deleteFile(api, link, { all: ids, namedBy, ownerId: record.ownerId });
    results.push({ link, exception });
  }
  for (const requestId of ids) await api.nodeResults.forgetMadeBy(requestId);
  const refs = [...new Set([...stored.values()].flatMap(({ job, outcome }) => refsOf(job, outcome)))];
  // A rerun, a retry of a dead letter and a cached node refer to objects of another request.
  const shared = await api.retention.named(refs, ids);
  await deleteCounted(
    api,
    refs.filter((ref) => !shared.has(ref)),
  );
  for (const each of records.reverse()) await erase(api, each);
  return results;
}

/** Returns true for a request that has no record yet but is known to the event log or to Temporal. */
async function isUnderWay({ events, jobs }: Dependencies, requestId: string): Promise<boolean> {
  if (!isRequestId(requestId)) return false;
  const snapshot = await events.snapshot(requestId).catch(() => undefined);
  return (snapshot ?? (await jobs.describe(requestId))) !== undefined;
}

/** Throws `request_unfinished` while the request, its webhook or its pipeline still needs the payloads. */
async function assertDeletable(
  api: Dependencies,
  { requestId, outcome, node }: RequestRecord,
): Promise<void> {
  if (!outcome) throw new TemperaError("request_unfinished");
  const delivery = await api.deliveries.find(requestId);
  if (delivery?.delivery.state === "pending") {
    throw new TemperaError(
      "request_unfinished",
      "The webhook of this request is not delivered yet; try again after its delivery.",
    );
  }
  const pipeline = node && (await api.requests.find(node.pipelineId));
  if (pipeline && !pipeline.outcome)
    throw new TemperaError(
      "request_unfinished",
      `This is a node of the pipeline ${pipeline.requestId}, which still runs; try again after its end.`,
    );
}

/** Returns the ended nodes of a pipeline and of the pipelines among them; none for any other request. */
async function nodesBelow(api: Dependencies, requestId: string): Promise<RequestRecord[]> {
  const nodes = (await api.requests.nodes(requestId)).filter(({ outcome }) => outcome !== undefined);
  const below: RequestRecord[] = [];
  for (const node of nodes)
    below.push(node, ...(node.taskQueue === PIPELINE_QUEUE ? await nodesBelow(api, node.requestId) : []));
  return below;
}

/**
 * Deletes the input and the output from a record, and the copies in the event log and in Temporal. A copy in
 * a service that cannot be reached stays until that service's own retention time.
 */
async function erase(api: Dependencies, record: RequestRecord): Promise<void> {
  await api.requestSearch.erasePayloads(record.requestId);
  const copies = await Promise.allSettled([
    api.events.drop(identityOf(record)),
    api.jobs.forget(record.requestId),
  ]);
  for (const each of copies) {
    if (each.status === "rejected")
      api.log.warn(
        { requestId: record.requestId, err: errorInfo(each.reason) },
        "a copy of the payloads was not deleted",
      );
  }
}

/** Returns the URLs of this platform's files in an output, each once; none if the output is deleted. */
async function linksOf(
  { objects }: Dependencies,
  output: { inline: JsonObject } | { ref: string },
): Promise<string[]> {
  if ("ref" in output && !(await objects.head(output.ref))) return [];
  const links = new Set<string>();
  const visit = (value: Json): void => {
    if (typeof value === "string") {
      if (namedFile(value)) links.add(value.replace(/\?identity=$/, ""));
    } else if (typeof value === "object" && value !== null)
      for (const each of Object.values(value)) visit(each);
  };
  visit(await retrieve<JsonObject>(objects, output));
  return [...links];
}

/**
 * Deletes one file that outputs name, if these requests produced it. Returns the reason why it stays, or
 * `null`.
 *
 * @param all the requests whose payloads are being deleted
 * @param namedBy those of them whose outputs name the file
 */
async function deleteFile(
  { objects, files, requestSearch }: Dependencies,
  link: string,
  { all, namedBy, ownerId }: { all: string[]; namedBy: string[]; ownerId: string },
): Promise<string | null> {
  const named = namedFile(link);
  try {
    if (named?.kind === "artifact") {
      const shared = await requestSearch.namedElsewhere([named.hash], all);
      if (shared.has(named.hash))
        return "Another request produced the same bytes, or uses them as its input.";
      await deleteCounted({ objects, files }, [named.key]);
      return null;
    }
    const file = named && (await files.find(named.fileId));
    if (!named || !file) return null;
    if (file.ownerId !== ownerId) return "The file belongs to another owner.";
    if (!producedBy(namedBy, file)) return "The file was uploaded, or produced by another request.";
    if (file.objectKey !== undefined) await objects.delete(file.objectKey);
    await files.remove([named.fileId]);
    return null;
  } catch (error) {
    return errorInfo(error).message;
  }
}

/** The number of files of one output among which a file is looked for. */
const FILES_MAX = 1_000;

/**
 * Returns true if one of these requests produced the file: a produced file's id is derived from the request,
 * the file's index in the output and its bytes.
 */
const producedBy = (requestIds: string[], { fileId, stored }: FileRecord): boolean =>
  stored !== undefined &&
  requestIds.some((requestId) => {
    for (let index = 0; index < FILES_MAX; index++)
      if (producedFileId(requestId, index, stored.etag) === fileId) return true;
    return false;
  });
