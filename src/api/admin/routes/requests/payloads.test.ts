import { beforeEach, expect, it } from "vitest";
import { producedFileId } from "../../../../core/files/file.ts";
import type { JobSpec } from "../../../../core/requests/job.ts";
import type { Json } from "../../../../core/json/json.ts";
import type { Outcome } from "../../../../core/requests/request.ts";
import { addPayloadVerbs } from "./payloads.ts";

const SHA = "ab".repeat(32);
const ids = Object.fromEntries(
  ["one", "other", "pipeline", "node"].map((name, n) => [name, `019a0000-0000-7000-8000-00000000000${n}`]),
) as Record<"one" | "other" | "pipeline" | "node", string>;
const file = (fileId: string): string => `http://localhost:8080/files/${fileId}/a.png`;
const ok = (output: Json): Outcome => ({ ok: true, output: { inline: output as never }, metrics: {} });

interface Kept {
  job: Partial<JobSpec>;
  outcome?: Outcome;
}
let kept: Map<string, Kept>;
let objects: Set<string>;
let files: Map<string, { ownerId: string; objectKey: string; stored: { etag: string } }>;
let erased: string[];
/** What the event log, and Temporal, know of. */
let heard: string[];
let submitted: string[];
/** What each request names in the object store. */
let refs: Map<string, string[]>;
beforeEach(() => {
  kept = new Map();
  objects = new Set();
  files = new Map();
  erased = [];
  refs = new Map();
  heard = [];
  submitted = [];
});

function erase(
  requestId: string,
): Promise<{ cdn_delete_results: { link: string; exception: string | null }[] }> {
  let handler: ((asked: object) => Promise<never>) | undefined;
  const recordOf = (id: string, { job, outcome }: Kept) => ({
    requestId: id,
    ownerId: "ann",
    endpoint: "a/b",
    ...job,
    ...(outcome && { outcome }),
  });
  const find = async (id: string) => {
    const found = kept.get(id);
    return found && recordOf(id, found);
  };
  addPayloadVerbs(
    ((_: object, handle: never) => (handler = handle)) as never,
    {
      requests: {
        find,
        nodes: async (id: string) =>
          [...kept]
            .filter(([, { job }]) => job.node?.pipelineId === id)
            .map(([nodeId, each]) => recordOf(nodeId, each)),
      },
      requestSearch: {
        payloads: async (asked: string[]) =>
          new Map([...kept].filter(([id, { outcome }]) => outcome && asked.includes(id))),
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
      },
      nodeResults: { forgetMadeBy: async () => {} },
      deliveries: { find: async () => undefined },
      events: { drop: async () => {}, snapshot: async (id: string) => (heard.includes(id) ? {} : undefined) },
      jobs: {
        forget: async () => {},
        describe: async (id: string) => (submitted.includes(id) ? {} : undefined),
      },
      log: { warn() {} },
    } as never,
  );
  return handler?.({
    params: { request_id: requestId },
    change: async (_: object, make: () => Promise<{ result: unknown }>) => (await make()).result,
  }) as never;
}

it("leaves what another request names as well: a retry has the input of its dead letter", async () => {
  const input = { ref: `inputs/${ids.one}.json` };
  kept.set(ids.one, {
    job: { input },
    outcome: { ok: false, error: { code: "runner_disconnected", message: "" }, metrics: {} },
  });
  objects.add(input.ref);
  refs.set(ids.one, [input.ref]);
  refs.set(ids.other, [input.ref]);
  await erase(ids.one);
  expect([...objects]).toEqual([input.ref]);
  refs.delete(ids.other);
  await erase(ids.one);
  expect([...objects]).toEqual([]);
});

it("deletes a file that the request made, and no upload that its output only names", async () => {
  const made = producedFileId(ids.one, 1, SHA);
  const uploaded = "c".repeat(32);
  for (const fileId of [made, uploaded])
    files.set(fileId, { ownerId: "ann", objectKey: `files/${fileId}`, stored: { etag: SHA } });
  kept.set(ids.one, {
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

it("takes the nodes of a pipeline along, and keeps a node's while its pipeline runs", async () => {
  const made = producedFileId(ids.node, 0, SHA);
  files.set(made, { ownerId: "ann", objectKey: "k", stored: { etag: SHA } });
  const node: Kept = {
    job: { node: { pipelineId: ids.pipeline, id: "n" }, input: { ref: "inputs/node" }, taskQueue: "gpu" },
    outcome: ok({ url: file(made) }),
  };
  objects.add("inputs/node");
  kept.set(ids.node, node);
  kept.set(ids.pipeline, { job: { input: { inline: {} } } });
  await expect(erase(ids.node)).rejects.toMatchObject({
    code: "request_unfinished",
    message: expect.stringContaining(ids.pipeline),
  });
  kept.set(ids.pipeline, { job: { input: { inline: {} } }, outcome: ok({ out: file(made) }) });
  expect((await erase(ids.pipeline)).cdn_delete_results).toEqual([{ link: file(made), exception: null }]);
  // The pipeline last: who was cut off asks for it again.
  expect({ erased, objects: [...objects], files: files.size }).toEqual({
    erased: [ids.node, ids.pipeline],
    objects: [],
    files: 0,
  });
});

it("of a request whose record is on its way says that it has not ended, and not that there is none", async () => {
  heard = [ids.one];
  submitted = [ids.other];
  for (const id of [ids.one, ids.other])
    await expect(erase(id)).rejects.toMatchObject({ code: "request_unfinished" });
  await expect(erase(ids.node)).rejects.toMatchObject({ code: "request_unknown" });
  await expect(erase("nonsense")).rejects.toMatchObject({ code: "request_unknown" });
});
