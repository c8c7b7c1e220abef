import { Hono } from "hono";
import { expect, it } from "vitest";
import { followCaller } from "./output-addresses.ts";

const OUTPUT = {
  images: [{ url: "http://localhost:8080/files/ab/x.png", width: 4 }],
  note: "see http://localhost:8080/files/ab/x.png",
  other: "http://localhost:8080.example/files/ab/x.png",
  none: null,
};

/** The output as a caller of an address gets it. */
const outputFor = async (url: string, settings: { publicUrl?: string; outputUrl?: string }) => {
  const app = new Hono().get("*", (c) =>
    c.json(followCaller(c, { publicUrl: undefined, ...settings }, OUTPUT)),
  );
  return (await (await app.request(url)).json()) as typeof OUTPUT;
};

it.each([
  ["https://localhost:8443/queue/a/b/requests/1", "https://localhost:8443/files"],
  ["http://gateway:8080/run/a/b", "http://gateway:8080/files"],
  ["http://localhost:8080/run/a/b", "http://localhost:8080/files"],
  ["https://queue.fal.run:8443/a/b/requests/1", "https://v3.fal.media:8443/files"],
])("files of an output are at the address that the caller of %s uses: %s", async (url, root) => {
  const output = await outputFor(url, { outputUrl: "http://localhost:8080" });
  expect(output).toEqual({ ...OUTPUT, images: [{ url: `${root}/ab/x.png`, width: 4 }] });
});

it("are left as they are below a configured address, and when none is known", async () => {
  const url = "https://localhost:8443/run/a/b";
  for (const settings of [{ publicUrl: "http://localhost:8080", outputUrl: "http://localhost:8080" }, {}])
    expect(await outputFor(url, settings)).toEqual(OUTPUT);
});
