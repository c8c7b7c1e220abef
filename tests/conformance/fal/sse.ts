/**
 * Lints server-sent events by the needs of fal's clients (contract §2.3, §4.2): only LF, one JSON value in
 * each event, pings as comments, no split character, a blank line after the last event.
 */
import { check } from "./expect.ts";
import { type Answer, brief, type Json } from "./http.ts";

export interface Sse {
  events: Json[];
  comments: string[];
}

/** Parses the stream; fails with the first rule that its bytes break. */
export function lintSse(answer: Pick<Answer, "bytes" | "chunks" | "headers">): Sse {
  const type = answer.headers["content-type"];
  check(
    type?.startsWith("text/event-stream"),
    `the content type is ${type ?? "missing"}, not text/event-stream`,
  );
  const text = answer.bytes.toString("utf8");
  check(
    !answer.bytes.includes(0x0d),
    `the stream contains a CR, at byte ${answer.bytes.indexOf(0x0d)}: some clients understand only LF`,
  );
  check(
    !answer.bytes.subarray(0, 3).equals(Buffer.from([0xef, 0xbb, 0xbf])),
    "the stream begins with a byte order mark",
  );
  check(!text.includes("\ufffd"), "the stream is not valid UTF-8");
  const decodedApart = answer.chunks.map((chunk) => chunk.toString("utf8")).join("");
  check(
    decodedApart === text,
    "a character is split between two chunks of the body; the JavaScript client loses it",
  );
  check(
    text === "" || text.endsWith("\n\n"),
    `the last event is not ended by a blank line: …${JSON.stringify(text.slice(-60))}`,
  );
  const sse: Sse = { events: [], comments: [] };
  for (const block of text.split("\n\n").slice(0, -1)) {
    const lines = block.split("\n").filter((line) => line !== "");
    const data = lines.filter((line) => /^data(:|$)/.test(line)).map((line) => line.replace(/^data:? ?/, ""));
    sse.comments.push(...lines.filter((line) => line.startsWith(":")));
    const strange = lines.find((line) => !/^(:|(data|event|id|retry)(:|$))/.test(line));
    check(strange === undefined, `a line that is no field of an event: ${brief(strange ?? "")}`);
    if (data.length === 0) {
      check(
        lines.every((line) => line.startsWith(":") || line.startsWith("retry")),
        `an event without data: ${brief(block)}`,
      );
      continue;
    }
    try {
      sse.events.push(JSON.parse(data.join("\n")));
    } catch {
      check(false, `data that is not JSON: ${brief(data.join("\n"))}`);
    }
  }
  return sse;
}

/** Checks that every character above 127 is escaped, so that no split of the bytes can fall inside one. */
export function checkAscii(bytes: Buffer): void {
  const at = bytes.findIndex((byte) => byte > 0x7f);
  check(
    at < 0,
    `byte ${at} is not ASCII: ${brief(bytes.subarray(Math.max(0, at - 20), at + 20).toString("utf8"))}`,
  );
}
