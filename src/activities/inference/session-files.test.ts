import { expect, it } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { JsonObject } from "../../core/json/json.ts";
import type { Frame } from "../../core/requests/session.ts";
import { encodeFrame } from "../../fal/msgpack.ts";
import { SessionFiles } from "./session-files.ts";

const frame = (sequence: number, input: JsonObject): Frame => ({ sequence, payload: encodeFrame(input) });

/** A plain input, and one whose file cannot be fetched. */
async function* inputs(): AsyncGenerator<Frame> {
  yield frame(1, { prompt: "a" });
  yield frame(2, { image_url: "https://example.com/a.png" });
}

function open(signal: AbortSignal) {
  const refused: number[] = [];
  const files = new SessionFiles({
    fetchInput: () => Promise.reject(new TemperaError("file_download_error")),
    ownerId: "ann",
    signal,
    onRefused: async (sequence) => void refused.push(sequence),
  });
  return { files, refused, attached: files.attachTo(inputs()) };
}

it("refuses an input once the engine has finished those before it", async () => {
  const { files, refused, attached } = open(new AbortController().signal);
  expect((await attached.next()).value).toMatchObject({ sequence: 1 });
  const rest = attached.next();
  await new Promise(setImmediate);
  expect(refused).toEqual([]);
  await files.settled(1);
  expect(await rest).toEqual({ done: true, value: undefined });
  expect(refused).toEqual([2]);
});

it("ends with its session, although the engine never finishes what it was given", async () => {
  const ended = new AbortController();
  const { refused, attached } = open(ended.signal);
  await attached.next();
  const rest = attached.next();
  await new Promise(setImmediate);
  ended.abort(new Error("the session ended"));
  await expect(rest).rejects.toThrow("the session ended");
  expect(refused).toEqual([]);
});
