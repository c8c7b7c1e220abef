import { beforeEach, expect, it } from "vitest";
import { producedFileId } from "../../../../core/files/file.ts";
import type { Json } from "../../../../core/json/json.ts";
import type { JobSpec } from "../../../../core/requests/job.ts";
import type { Outcome } from "../../../../core/requests/request.ts";
import { addPayloadRoutes } from "./payloads.ts";

const SHA = "ab".repeat(32);
const ids = Object.fromEntries(
  ["one", "other", "pipeline", "node"].map((name, n) => [name, `019a0000-0000-7000-8000-00000000000${n}`]),
) as Record<"one" | "other" | "pipeline" | "node", string>;
const file = (fileId: string): string => `http://localhost:8080/files/${fileId}/a.png`;
const ok = (output: Json): Outcome => ({ ok: true, output: { inline: output as never }, metrics: {} });

interface Recorded {
  job: Partial<JobSpec>;
  outcome?: Outcome;
}
let records: Map<string, Recorded>;
let objects: Set<string>;
let uncounted: string[];
let files: Map<string, { ownerId: string; objectKey: string; stored: { etag: string } }>;
let erased: string[];
/** Requests that the event log knows. */
let inEventLog: string[];
/** Requests that Temporal knows. */
let inTemporal: string[];
/** The objects that each request refers to. */
let refs: Map<string, string[]>;
beforeEach(() => {
  records = new Map();
  objects = new Set();
  files = new Map();
  uncounted = [];
  erased = [];
  refs = new Map();
  inEventLog = [];
  inTemporal = [];
});

function erase(
  requestId: string,
): Promise<{ cdn_delete_results: { link: string; exception: string | null }[] }> {
  let handler: ((request: object) => Promise<never>) | undefined;
  const recordOf = (id: string, { job, outcome }: Recorded) => ({
    requestId: id,
    ownerId: "ann",
    endpoint: "a/b",
    ...job,
    ...(outcome && { outcome }),
  });
  const find = async (id: string) => {
    const found = records.get(id);
    return found && recordOf(id, found);
  };
  addPayloadRoutes(
    ((_: object, handle: never) => (handler = handle)) as never,
    {
      requests: {
        find,
        nodes: async (id: string) =>
          [...records]
            .filter(([, { job }]) => job.node?.pipelineId === id)
            .map(([nodeId, each]) => recordOf(nodeId, each)),
      },
      requestSearch: {
        payloads: async (requested: string[]) =>
          new Map([...records].filter(([id, { outcome }]) => outcome && requested.includes(id))),
        erasePayloads: async (id: string) => void erased.push(id),
        namedElsewhere: async () => new Set(),
      },
      retention: {
        named: async (keys: string[], but: string[]) =>
          new Set(
            keys.filter((key) => [...refs].some(([id, named]) => !but.includes(id) && named.includes(key))),
          ),
      },
      objects: {
        delete: async (key: string) => void objects.delete(key),
        head: async (key: string) => (objects.has(key) ? {} : undefined),
      },
      files: {
        find: async (fileId: string) => files.has(fileId) && { fileId, ...files.get(fileId) },
        remove: async ([fileId]: string[]) => void files.delete(fileId as string),
        uncountObjects: async (keys: string[]) => void uncounted.push(...keys),
      },
      nodeResults: { forgetMadeBy: async () => {} },
      deliveries: { find: async () => undefined },
      events: {
        drop: async () => {},
        snapshot: async (id: string) => (inEventLog.includes(id) ? {} : undefined),
      },
      jobs: {
        forget: async () => {},
        describe: async (id: string) => (inTemporal.includes(id) ? {} : undefined),
      },
      log: { warn() {} },
    } as never,
  );
  return handler?.({
    params: { request_id: requestId },
    change: async (_: object, make: () => Promise<{ result: unknown }>) => (await make()).result,
  }) as never;
}

it("keeps an object that another request uses: a retry shares the input of its dead letter", async () => {
  const input = { ref: `inputs/${ids.one}.json` };
  records.set(ids.one, {
    job: { input },
    outcome: { ok: false, error: { code: "runner_disconnected", message: "" }, metrics: {} },
  });
  objects.add(input.ref);
  refs.set(ids.one, [input.ref]);
  refs.set(ids.other, [input.ref]);
  await erase(ids.one);
  expect({ objects: [...objects], uncounted }).toEqual({ objects: [input.ref], uncounted: [] });
  refs.delete(ids.other);
  await erase(ids.one);
  expect({ objects: [...objects], uncounted }).toEqual({ objects: [], uncounted: [input.ref] });
});

it("deletes a file that the request produced, but no upload that its output names", async () => {
  const made = producedFileId(ids.one, 1, SHA);
  const uploaded = "c".repeat(32);
  for (const fileId of [made, uploaded])
    files.set(fileId, { ownerId: "ann", objectKey: `files/${fileId}`, stored: { etag: SHA } });
  records.set(ids.one, {
    job: { input: { inline: {} } },
    outcome: ok({ image: { url: file(made) }, first: { url: file(uploaded) } }),
  });
  const { cdn_delete_results } = await erase(ids.one);
  expect(cdn_delete_results).toEqual([
    { link: file(made), exception: null },
    { link: file(uploaded), exception: expect.stringContaining("uploaded") },
  ]);
  expect([...files.keys()]).toEqual([uploaded]);
});

it("deletes a pipeline's payloads with its nodes', but none of a node while its pipeline runs", async () => {
  const made = producedFileId(ids.node, 0, SHA);
  files.set(made, { ownerId: "ann", objectKey: "k", stored: { etag: SHA } });
  const node: Recorded = {
    job: { node: { pipelineId: ids.pipeline, id: "n" }, input: { ref: "inputs/node" }, taskQueue: "gpu" },
    outcome: ok({ url: file(made) }),
  };
  objects.add("inputs/node");
  records.set(ids.node, node);
  records.set(ids.pipeline, { job: { input: { inline: {} } } });
  await expect(erase(ids.node)).rejects.toMatchObject({
    code: "request_unfinished",
    message: expect.stringContaining(ids.pipeline),
  });
  records.set(ids.pipeline, { job: { input: { inline: {} } }, outcome: ok({ out: file(made) }) });
  expect((await erase(ids.pipeline)).cdn_delete_results).toEqual([{ link: file(made), exception: null }]);
  // The pipeline comes last, so that a call after a failure can repeat the deletion.
  expect({ erased, objects: [...objects], files: files.size }).toEqual({
    erased: [ids.node, ids.pipeline],
    objects: [],
    files: 0,
  });
});

it("reports a request without a record yet as unfinished, not as unknown", async () => {
  inEventLog = [ids.one];
  inTemporal = [ids.other];
  for (const id of [ids.one, ids.other])
    await expect(erase(id)).rejects.toMatchObject({ code: "request_unfinished" });
  await expect(erase(ids.node)).rejects.toMatchObject({ code: "request_unknown" });
  await expect(erase("nonsense")).rejects.toMatchObject({ code: "request_unknown" });
});
