import { describe, expect, it } from "vitest";
import { shownHeaders } from "./shown-type.ts";

const SAVED = { "content-type": "application/octet-stream", "content-disposition": "attachment" };

describe("a file", () => {
  it.each([
    ["image/png", "image/png"],
    ["IMAGE/PNG", "image/png"],
    ["image/svg+xml", "image/svg+xml"],
    // The Swift client sends this one.
    ["audio/mp3", "audio/mp3"],
    ['video/mp4; codecs="avc1.64001f"', "video/mp4"],
    ["text/plain;charset=UTF-8", "text/plain; charset=UTF-8"],
    ['text/plain; charset="utf-8"; format=flowed', "text/plain; charset=utf-8"],
    ["application/json; charset=utf-8", "application/json"],
  ])("of type %j is displayed as %j", (given, shown) =>
    expect(shownHeaders(given)).toEqual({ "content-type": shown }),
  );

  it.each([
    "image/png;, text/html",
    "image/x;,text/html",
    "video/mp4; a=b, text/html",
    "application/json;,text/html;x=",
    'image/png; a=", text/html"',
    "image/png;",
    "image/png ,text/html",
    "image/png\ntext/html",
    "text/html",
    "text/html; charset=utf-8",
    "application/xhtml+xml",
    "text/xml",
    "application/pdf",
    "image/anything",
    "text/javascript",
    "multipart/x-mixed-replace",
    "",
    "image",
    "*/*",
  ])("of type %j is saved, not displayed", (given) => expect(shownHeaders(given)).toEqual(SAVED));
});
