/**
 * Numbers from a caller and back, on every tree: integers of any size come back digit by digit, and what
 * cannot be held is refused. All answers are compared as texts, since `JSON.parse` would round them.
 */
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { decode, encode } from "@msgpack/msgpack";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseJson, writeJson } from "../../src/core/json/exact-json.ts";
import { type Receiver, startReceiver } from "../conformance/fal/receiver.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";
import { openSocket, type TestSocket } from "./sockets.ts";

const STUB = "tempera/stub";
const TEMPERA = join(resolve(import.meta.dirname, "../.."), "scripts/tempera.mjs");

/** As sent, and as it comes back: JavaScript's spelling of the same numbers. */
const SENT =
  '{"over":9007199254740993,"most":18446744073709551615,"least":-9223372036854775808,' +
  '"long":123456789012345678901234567890,"list":[{"id":-12345678901234567890}],"tenth":0.1,"small":1e-7,' +
  '"tiny":5E-324,"huge":1.7976931348623157e308,"zero":-0,"one":1.0,"text":"12345678901234567890"}';
const KEPT = SENT.replace("5E-324", "5e-324").replace("e308", "e+308").replace("-0", "0").replace("1.0", "1");
const SEED = "18446744073709551615";
const INPUT = `{"payload":${SENT},"seed":${SEED}}`;
const OUTPUT = `{"echo":${KEPT},"attempt":1,"seed":${SEED}}`;

let test: TestPlatform;
let receiver: Receiver;
beforeAll(async () => {
  receiver = await startReceiver("127.0.0.1");
  test = await startTestPlatform({ TEMPERA_ALLOW_PRIVATE_ADDRESSES: "127.0.0.0/8" });
});
afterAll(async () => {
  await test[Symbol.asyncDispose]();
  await receiver.close();
});

interface Answer {
  status: number;
  text: string;
}
async function send(path: string, body?: string, headers: Record<string, string> = {}): Promise<Answer> {
  const init = body === undefined ? {} : { method: "POST", body };
  const answer = await test.call(path, {
    ...init,
    headers: { "content-type": "application/json", ...headers },
  });
  return { status: answer.status, text: await answer.text() };
}
const idOf = ({ text }: Answer): string => (JSON.parse(text) as { request_id: string }).request_id;
/** Submits, and resolves with the id of the request when that has ended. */
async function submit(endpoint: string, body: string, headers: Record<string, string> = {}): Promise<string> {
  const id = idOf(await send(`/queue/${endpoint}`, body, headers));
  for await (const { status } of test.client.follow(endpoint, id)) if (status === "COMPLETED") break;
  return id;
}
const resultOf = async (endpoint: string, id: string): Promise<string> =>
  (await send(`/queue/${endpoint}/requests/${id}`)).text;
const connect = (path: string): Promise<TestSocket> =>
  openSocket(`${test.platform.url.replace("http", "ws")}${path}`, {
    headers: { authorization: `Key ${test.platform.key}` },
  });

describe("an input of large integers comes back unchanged", () => {
  it("from the queue, from PostgreSQL and from the Platform API", async () => {
    const id = await submit(STUB, INPUT);
    expect(await resultOf(STUB, id)).toBe(OUTPUT);
    const record = await test.record(id);
    expect(writeJson(record?.outcome)).toContain(OUTPUT);
    const [row] = await test.sql`SELECT job::text AS job FROM requests WHERE request_id = ${id}`;
    expect(row?.job).toContain(`"payload":${KEPT}`);
    const list = `/v1/models/requests/by-endpoint?endpoint_id=${STUB}&request_id=${id}&expand=payloads`;
    const headers = { authorization: `Key ${test.platform.key}` };
    const shown = await (await fetch(`${test.platform.adminUrl}${list}`, { headers })).text();
    expect(shown).toContain(`"payload":${KEPT}`);
    expect(shown).toContain(OUTPUT);
  });

  it("from the object store", async () => {
    const pad = "x".repeat(50_000);
    const id = await submit(STUB, `{"payload":[${SENT},"${pad}"],"seed":${SEED}}`);
    expect(await resultOf(STUB, id)).toBe(`{"echo":[${KEPT},"${pad}"],"attempt":1,"seed":${SEED}}`);
  });

  it("from a webhook", async () => {
    const hook = receiver.hook();
    const id = idOf(await send(`/queue/${STUB}?fal_webhook=${encodeURIComponent(hook.url)}`, INPUT));
    const [delivery] = await hook.arrived(1);
    expect(delivery?.raw.toString()).toContain(`"payload":${OUTPUT}`);
    expect(delivery?.raw.toString()).toContain(id);
  });

  it.each(["{}", '{"sync_mode":true,"artifact_bytes":10}'])(
    "from a run and a stream, with %s",
    async (more) => {
      const body = INPUT.replace("{", `${more.slice(0, -1)}${more === "{}" ? "" : ","}`);
      const run = await send(`/run/${STUB}`, body);
      expect(run.status).toBe(200);
      expect(run.text.startsWith(OUTPUT.slice(0, -1))).toBe(true);
      expect((await send(`/${STUB}/stream`, body)).text).toContain(OUTPUT.slice(0, -1));
    },
  );

  it("from a run with a query", async () => {
    const query = new URLSearchParams({ payload: SENT, seed: SEED });
    expect((await send(`/run/${STUB}?${query}`)).text).toBe(
      writeJson({ echo: SENT, attempt: 1, seed: 2n ** 64n - 1n }),
    );
  });

  it("from HTTP over WebSocket", async () => {
    await using socket = await connect(`/ws/${STUB}`);
    socket.send(INPUT);
    await socket.next();
    expect(await socket.next()).toBe(OUTPUT);
  });

  it("from a realtime session, as JSON and as msgpack", async () => {
    await using socket = await connect(`/${STUB}/realtime`);
    const ids = '{"over":9007199254740993,"least":-9223372036854775808,"count":4294967296,"x":0.1}';
    socket.send(`{"payload":${ids},"seed":${SEED}}`);
    expect(await socket.next()).toBe(`{"echo":${ids},"attempt":1,"seed":${SEED}}`);
    await socket.next(); // the timing
    const payload = { over: 2n ** 53n + 1n, least: -(2n ** 63n), x: 0.1 };
    socket.send(encode({ payload, seed: 2n ** 64n - 1n }, { useBigInt64: true }));
    const decoded = decode((await socket.next()) as Buffer, { useBigInt64: true });
    expect(decoded).toEqual({ echo: payload, attempt: 1, seed: 2n ** 64n - 1n });
  });

  it("from the command line", async () => {
    const env = { ...process.env, TEMPERA_URL: test.platform.url, TEMPERA_KEY: test.platform.key };
    const args = [TEMPERA, "submit", STUB, "--input", INPUT, "--wait"];
    const { stdout } = await promisify(execFile)(process.execPath, args, { env });
    expect(stdout).toBe(`${writeJson(parseJson(OUTPUT), 2)}\n`);
    expect(stdout).toContain('"seed": 18446744073709551615');
  });

  it("from workflows, and from their reruns", async () => {
    const input = `{"payload":["$input.value",${SENT}],"seed":"$input.seed"}`;
    const node = `{"type":"run","app":"${STUB}","input":${input}}`;
    const workflow =
      `{"a":${node},"b":{"type":"run","app":"${STUB}","input":{"payload":"$a.echo"}},` +
      '"shown":{"type":"display","fields":{"out":"$b.echo","seed":"$a.seed"}}}';
    const body = `{"input":{"value":${SENT},"seed":${SEED}},"workflow":${workflow}}`;
    const id = await submit("workflows/execute", body);
    expect(await resultOf("workflows/execute", id)).toBe(`{"out":[${KEPT},${KEPT}],"seed":${SEED}}`);
    const overrides = '{"overrides":{"input":{"seed":9007199254740995}}}';
    const again = idOf(await send(`/queue/workflows/execute/requests/${id}/rerun`, overrides));
    for await (const { status } of test.client.follow("workflows/execute", again))
      if (status === "COMPLETED") break;
    expect(await resultOf("workflows/execute", again)).toBe(
      `{"out":[${KEPT},${KEPT}],"seed":9007199254740995}`,
    );
  });

  it("from a saved workflow with large integers in its definition", async () => {
    const contents =
      `{"name":"exact","version":"1","nodes":{"a":{"type":"run","app":"${STUB}","depends":["input"],` +
      `"input":{"payload":[${SENT},"$input.n"]}}},"output":{"out":"$a.echo"},` +
      '"schema":{"input":{"n":{"name":"n","label":"N","type":"integer","required":false,"modelId":"a",' +
      `"default":${SEED}}},"output":{}},"metadata":{}}`;
    const headers = { authorization: `Key ${test.platform.key}`, "content-type": "application/json" };
    const body = `{"name":"exact","title":"Exact","contents":${contents}}`;
    const made = await fetch(`${test.platform.adminUrl}/v1/workflows`, { method: "POST", headers, body });
    const text = await made.text();
    expect([made.status, text]).toEqual([201, expect.stringContaining(KEPT)]);
    const { user_nickname: owner = "default" } = (JSON.parse(text) as { workflow: Record<string, string> })
      .workflow;
    const endpoint = `workflows/${owner}/exact`;
    const run = await send(`/run/${endpoint}`, '{"n":-9007199254740993}');
    expect(run).toEqual({ status: 200, text: `{"out":[${KEPT},-9007199254740993]}` });
  });
});

describe("integers that doubles take for one", () => {
  it("are two inputs for an idempotency key; 1 and 1.0 are one", async () => {
    const key = { "idempotency-key": randomUUID() };
    const body = (over: string, one: string) => `{"payload":[${over},${one}]}`;
    const first = await send(`/queue/${STUB}`, body("9007199254740993", "1"), key);
    const same = await send(`/queue/${STUB}`, body("9007199254740993", "1.0"), key);
    expect(idOf(same)).toBe(idOf(first));
    expect((await send(`/queue/${STUB}`, body("9007199254740992", "1"), key)).text).toContain(
      "was used with another input",
    );
  });

  it("are two inputs for the cache of nodes", async () => {
    const seedOf = async (seed: string): Promise<string> => {
      const workflow = `{"a":{"type":"run","app":"${STUB}","input":{"seed":"$input.seed"}},
        "shown":{"type":"display","fields":{"seed":"$a.seed"}}}`;
      return (await send("/run/workflows/execute", `{"input":{"seed":${seed}},"workflow":${workflow}}`)).text;
    };
    for (const seed of ["9007199254740993", "9007199254740992", "9007199254740993"])
      expect(await seedOf(seed)).toBe(`{"seed":${seed}}`);
  });

  it("are seeds of two files", async () => {
    const fileOf = async (seed: string): Promise<string> => {
      const { text } = await send(`/run/${STUB}`, `{"seed":${seed},"artifact_bytes":100}`);
      return (JSON.parse(text) as { file: { url: string } }).file.url;
    };
    const urls = await Promise.all(["0", "18446744073709551615", "18446744073709551614"].map(fileOf));
    expect(new Set(urls).size).toBe(3);
  });

  it("are seeds of two images, up to 64 bits", async () => {
    const imageOf = async (seed: string): Promise<string> => {
      const body = `{"prompt":"a blue circle","image_size":"square","num_inference_steps":2,"seed":${seed}}`;
      const { text } = await send("/run/fal-ai/qwen-image", body);
      expect(text).toContain(`"seed":${seed},`);
      return (JSON.parse(text) as { images: { url: string }[] }).images[0]?.url ?? "";
    };
    const [zero, most, next] = [
      await imageOf("0"),
      await imageOf(SEED),
      await imageOf("18446744073709551614"),
    ];
    expect(new Set([zero, most, next]).size).toBe(3);
    const refused = await send("/run/fal-ai/qwen-image", '{"prompt":"x","seed":18446744073709551616}');
    expect(refused).toEqual({ status: 422, text: expect.stringContaining("to 18446744073709551615") });
    expect(refused.text).toContain('"loc":["body","seed"]');
  });
});

describe("a number that cannot be held", () => {
  const CASES: [string, string][] = [
    ["1e400", "finite_number"],
    ["-1e400", "finite_number"],
    ["9".repeat(10_000), "int_parsing_size"],
  ];

  it.each(CASES)("is refused on every tree, case %#", async (number, type) => {
    const body = `{"payload":{"list":[0,${number}]}}`;
    const loc = '"loc":["body","payload","list",1]';
    for (const path of [`/queue/${STUB}`, `/run/${STUB}`, `/${STUB}/stream`]) {
      const { status, text } = await send(path, body);
      expect([path, status]).toEqual([path, 422]);
      expect(text).toContain(loc);
      expect(text).toContain(`"type":"${type}"`);
    }
    const workflow = `{"input":{},"workflow":{"a":{"type":"run","app":"${STUB}","input":${body}}}}`;
    const executed = await send("/queue/workflows/execute", workflow);
    expect(executed.status).toBe(422);
    expect(executed.text).toContain('"loc":["body","workflow","a","input","payload","list",1]');
    await using http = await connect(`/ws/${STUB}`);
    http.send(body);
    expect(JSON.parse((await http.next()) as string)).toMatchObject({ status: 422 });
    expect(await http.next()).toContain(loc);
    await using realtime = await connect(`/${STUB}/realtime`);
    realtime.send(body);
    expect(await realtime.next()).toMatch(/"error":"INVALID_INPUT".*payload\.list\.1/);
  });

  it("is refused on the Platform API", async () => {
    const headers = { authorization: `Key ${test.platform.key}`, "content-type": "application/json" };
    const body = '{"name":"big","title":"Big","contents":{"nodes":{"a":1e400}}}';
    const answer = await fetch(`${test.platform.adminUrl}/v1/workflows`, { method: "POST", headers, body });
    expect(answer.status).toBeLessThan(500);
    expect(answer.ok).toBe(false);
    expect(await answer.text()).toContain("finite number");
  });

  it("is refused in a frame of realtime with more than 64 bits", async () => {
    await using realtime = await connect(`/${STUB}/realtime`);
    realtime.send('{"payload":18446744073709551616}');
    expect(await realtime.next()).toMatch(/"error":"INVALID_INPUT".*64 bits/);
  });

  it("is refused where a field takes less, with its bound", async () => {
    const { status, text } = await send(`/run/${STUB}`, '{"steps":9007199254740993}');
    expect(status).toBe(422);
    expect(JSON.parse(text)).toMatchObject({
      detail: [{ loc: ["body", "steps"], type: "less_than_equal", ctx: { le: 1000 } }],
    });
  });
});
