import { describe, expect, it } from "vitest";
import { SSE_HEADERS, SSE_PING, sseEvent } from "./sse.ts";

describe("server-sent events", () => {
  it("are one line of JSON and a blank line, with an id when a stream can resume after them", () => {
    expect(sseEvent({ a: 1 })).toBe('data: {"a":1}\n\n');
    expect(sseEvent({ a: 1 }, "5-0")).toBe('id: 5-0\ndata: {"a":1}\n\n');
  });

  it.each([
    "é",
    "漢字",
    "😀",
    "a\nb\r\nc",
    "\u2028\u2029",
    "\u0000\u0007",
    "\u007f\u0085",
    "\ud800 alone",
    'data: x\n\ndata: "y"',
    "مرحبا",
  ])("carry %j in ASCII without a line break of its own", (text) => {
    const event = sseEvent({ text });
    expect(event).toMatch(/^data: [\x20-\x7e]+\n\n$/);
    expect(JSON.parse(event.slice("data: ".length))).toEqual({ text });
  });

  it("can be split at any byte", () => {
    const event = sseEvent({ text: "é😀漢" });
    const bytes = Buffer.from(event);
    for (let at = 0; at <= bytes.length; at++)
      expect(bytes.subarray(0, at).toString("utf8") + bytes.subarray(at).toString("utf8")).toBe(event);
  });

  it("ping with a comment, which no client reads as data", () => expect(SSE_PING).toMatch(/^:[^\n]*\n\n$/));

  it("are not stored by any cache on the way", () =>
    expect(SSE_HEADERS).toMatchObject({ "content-type": "text/event-stream", "cache-control": "no-store" }));
});
