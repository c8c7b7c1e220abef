import { Hono } from "hono";
import { expect, it } from "vitest";
import { parseJson, writeJson } from "../../core/json/exact-json.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { followCaller, followCallerInJson } from "./output-addresses.ts";

const OUTPUT = {
  images: [{ url: "http://localhost:8080/files/ab/x.png", width: 4 }],
  note: "see http://localhost:8080/files/ab/x.png",
  other: "http://localhost:8080.example/files/ab/x.png",
  none: null,
};

const ROOT = "http://localhost:8080/files/";

interface Settings {
  publicUrl?: string;
  filesUrl?: string;
  outputUrls?: string[];
}

/** The output as a caller of an address gets it, parsed or as it is stored: both are the same. */
const outputFor = async <T extends JsonObject>(url: string, settings: Settings, output: T): Promise<T> => {
  const signAddress = (address: string, ownerId: string) => address.replace(/=$/, `=signed-for-${ownerId}`);
  const api = { publicUrl: undefined, signAddress, ...settings };
  const app = new Hono().get("*", (c) => {
    const pieces = followCallerInJson(c, api, Buffer.from(writeJson(output)), "ann");
    const followed = followCaller(c, api, output, "ann");
    expect(Buffer.concat(pieces).toString()).toBe(writeJson(followed));
    return c.body(writeJson(followed));
  });
  const answer = await app.request(url);
  expect(answer.status).toBe(200);
  return (await answer.json()) as T;
};

it.each([
  ["https://localhost:8443/queue/a/b/requests/1", "https://localhost:8443/files"],
  ["http://gateway:8080/run/a/b", "http://gateway:8080/files"],
  ["http://localhost:8080/run/a/b", "http://localhost:8080/files"],
  ["https://queue.fal.run:8443/a/b/requests/1", "https://v3.fal.media:8443/files"],
])("files of an output are at the address that the caller of %s uses: %s", async (url, root) => {
  const output = await outputFor(url, { outputUrls: ["http://localhost:8080"] }, OUTPUT);
  expect(output).toEqual({ ...OUTPUT, images: [{ url: `${root}/ab/x.png`, width: 4 }] });
});

it("are left as they are below a configured address, and when none is known", async () => {
  const url = "https://localhost:8443/run/a/b";
  for (const settings of [{ publicUrl: "http://localhost:8080", outputUrls: ["http://localhost:8080"] }, {}])
    expect(await outputFor(url, settings, OUTPUT)).toEqual(OUTPUT);
});

it("are on the host name of the files, also those that were written before there was one", async () => {
  const settings = {
    publicUrl: "http://localhost:8080",
    filesUrl: "https://files.example.com",
    outputUrls: ["https://files.example.com", "http://localhost:8080"],
  };
  const output = {
    old: "http://localhost:8080/files/ab/x.png",
    now: "https://files.example.com/files/ab/x.png",
  };
  const url = "https://files.example.com/files/ab/x.png";
  for (const caller of ["http://localhost:8080/run/a/b", "https://queue.fal.run/a/b"])
    expect(await outputFor(caller, settings, output)).toEqual({ old: url, now: url });
});

it("are signed for the owner where they are private, and no address of another server is", async () => {
  const mark = "/x.png?identity=";
  const output = {
    ours: `http://localhost:8080/files/ab${mark}`,
    other: `http://evil.example/files/ab${mark}`,
  };
  const settings = { outputUrls: ["http://localhost:8080"] };
  expect(await outputFor("https://localhost:8443/run/a/b", settings, output)).toEqual({
    ours: `https://localhost:8443/files/ab${mark}signed-for-ann`,
    other: output.other,
  });
});

it.each<[string, JsonObject]>([
  [
    "in texts with quotes, backslashes and other alphabets",
    { a: `${ROOT}a"b\\\\`, b: `"${ROOT}c`, c: `\\"${ROOT}d` },
  ],
  ["that are names of fields", { [`${ROOT}a`]: `${ROOT}b`, deep: [{ [`${ROOT}c`]: 1 }] }],
  ["that end with a backslash, and are empty", { a: `${ROOT}\\`, b: ROOT, c: "" }],
  ["beside large integers", parseJson(`{"seed":12345678901234567890,"url":"${ROOT}é€😀"}`) as JsonObject],
  ["in lists", { list: [`${ROOT}1`, `${ROOT}2`, [`${ROOT}3`]], text: "é" }],
])("are found without parsing %s", async (_, output) => {
  await outputFor("http://gateway:8080/run/a/b", { outputUrls: ["http://localhost:8080"] }, output);
});
