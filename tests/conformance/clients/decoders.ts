/**
 * Clients that do not run here, judged by their models: `decoders/*.json` say what each requires of an
 * answer, as JSON Schemas, and every kind of answer of the gateway must fit them.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { request } from "../fal/http.ts";
import { type Client, checkOf, type Surroundings } from "./check.ts";
import { IMAGE, WAITING_MODEL } from "./inputs.ts";

const STUB = "tempera/stub";

/** An answer of the gateway, and the model into which clients decode it. */
interface Answer {
  name: string;
  model: string;
  body: unknown;
}

/** Throws when an answer does not fit a client's model. */
export type Decode = (model: string, body: unknown) => void;

/** Opens the models of a client. @returns also the names of the answers that the client reads */
export function openDecoder(client: string): { decode: Decode; models: ReadonlySet<string> } {
  const file = join(import.meta.dirname, "decoders", `${client}.json`);
  const schema = JSON.parse(readFileSync(file, "utf8"));
  const ajv = new Ajv2020({ allErrors: true, strict: false });
  ajv.addSchema({ ...schema, $id: client });
  return {
    models: new Set(Object.keys(schema.$defs)),
    decode(model, body) {
      const validate = ajv.getSchema(`${client}#/$defs/${model}`);
      if (!validate) throw new Error(`${file} has no model ${model}`);
      if (validate(body) !== true)
        throw new Error(`${ajv.errorsText(validate.errors, { dataVar: model })}: ${JSON.stringify(body)}`);
    },
  };
}

const decoder = (name: string, title: string): Client => ({
  title,
  async run(surroundings) {
    const { decode, models } = openDecoder(name);
    const answers = (await recordAnswers(surroundings)).filter(({ model }) => models.has(model));
    return Promise.all(
      answers.map(({ name, model, body }) => checkOf(name, async () => decode(model, body))),
    );
  },
});

export const kotlin = decoder("kotlin", "Kotlin, the models of fal-client-kotlin 0.7.1");
export const swift = decoder("swift", "Swift, the models of fal-swift");
export const dart = decoder("dart", "Dart, the models of fal-dart");

/** Calls the gateway for each kind of answer that clients decode. */
async function recordAnswers({ url, key }: Surroundings): Promise<Answer[]> {
  const headers = { authorization: `Key ${key}` };
  const call = async (path: string, body?: object, as: Record<string, string> = headers) =>
    (await request(`${url}${path}`, { method: body ? "POST" : "GET", body, headers: as })).json();
  const submit = (input: object, model = STUB) => call(`/queue/${model}`, input);
  const at = (id: string, rest = "", model = STUB) => `/queue/${model}/requests/${id}${rest}`;
  /** Follows a request's status stream to its end. */
  const follow = async (id: string): Promise<unknown[]> => {
    const { text } = await request(`${url}${at(id, "/status/stream?logs=1")}`, { headers });
    return [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => JSON.parse(data ?? ""));
  };
  const status = (id: string, name: string, model = STUB) =>
    Promise.all(
      ["", "?logs=1"].map(async (query) => ({
        name: `status of ${name}${query && " with logs"}`,
        model: "status",
        body: await call(at(id, `/status${query}`, model)),
      })),
    );

  const waiting = await submit({ prompt: "x", image_url: IMAGE }, WAITING_MODEL);
  const running = await submit({ delay_ms: 60_000, steps: 600, unknown_field: 1 });
  while ((await call(at(running.request_id, "/status"))).status === "IN_QUEUE");
  const done = await submit({ prompt: "x", delay_ms: 300, steps: 3, unknown_field: 1 });
  const failed = await submit({ fail: "error" });
  const events = [...(await follow(done.request_id)), ...(await follow(failed.request_id))];
  const answers: Answer[] = [
    { name: "the answer of a submit", model: "submit", body: done },
    ...(await status(waiting.request_id, "a request that waits", WAITING_MODEL)),
    ...(await status(running.request_id, "a request that runs")),
    ...(await status(done.request_id, "a request that has ended")),
    ...(await status(failed.request_id, "a request that has failed")),
    { name: "each event of status streams", model: "events", body: events },
    { name: "a result", model: "result", body: await call(at(done.request_id)) },
    { name: "the result of a failed request", model: "error", body: await call(at(failed.request_id)) },
    { name: "a wrong key", model: "error", body: await call(`/run/${STUB}`, {}, {}) },
    { name: "an unknown model", model: "error", body: await call("/run/nobody/nothing", {}) },
    {
      name: "a refused input",
      model: "validationError",
      body: await call(`/run/${STUB}`, { fail: "invalid" }),
    },
    {
      name: "an upload",
      model: "upload",
      body: await call("/rest/storage/upload/initiate", {
        content_type: "text/plain",
        file_name: "日本.txt",
      }),
    },
    {
      name: "a token for realtime",
      model: "token",
      body: await call("/rest/tokens/", { allowed_apps: ["stub"], token_expiration: 120 }),
    },
  ];
  for (const [id, model] of [[waiting.request_id, WAITING_MODEL], [running.request_id]])
    await request(`${url}${at(id, "/cancel", model)}`, { method: "PUT", headers });
  return answers;
}
