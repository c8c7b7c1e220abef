import { createCipheriv, createHash } from "node:crypto";
import { defaultPayloadConverter, type Payload } from "@temporalio/common";
import { describe, expect, it } from "vitest";
import { parsePayloadKeys } from "../../core/operations/payload-keys.ts";
import { createPayloadCodec, locationOf } from "./payload-codec.ts";
import { decodePayload, encodePayload } from "./payload-wire.ts";

const key = (word: string): string => createHash("sha256").update(word).digest("base64");
const codecOf = (keys: string) => createPayloadCodec(parsePayloadKeys(keys));
const ONE = `one:${key("1")}`;
const TWO = `two:${key("2")}`;
const payload = (value: unknown): Payload => defaultPayloadConverter.toPayload(value) as Payload;
const only = async (payloads: Promise<Payload[]>): Promise<Payload> => (await payloads)[0] as Payload;
const seal = (keys: string, value: unknown): Promise<Payload> => only(codecOf(keys).encode([payload(value)]));
const open = async (keys: string, sealed: Payload): Promise<unknown> =>
  defaultPayloadConverter.fromPayload(await only(codecOf(keys).decode([sealed])));

it.each([
  ["text é😀"],
  [{ prompt: "p", list: [1, null, { a: "x".repeat(300) }] }],
  [null],
  [new Uint8Array([0, 255, 1])],
  [undefined],
  ["x".repeat(100_000)],
])("decodes what it encoded, and what it encoded is unreadable (%#)", async (value) => {
  const sealed = await seal(ONE, value);
  expect(Buffer.from(sealed.metadata?.encoding ?? []).toString()).toBe("binary/encrypted");
  expect(Buffer.from(sealed.metadata?.["encryption-key-id"] ?? []).toString()).toBe("one");
  expect(Object.keys(sealed.metadata ?? {})).toHaveLength(2);
  expect(Buffer.from(sealed.data ?? []).toString("latin1")).not.toMatch(/json\/plain|prompt|text/);
  expect(await open(ONE, sealed)).toEqual(value);
});

it("encodes the same value to other bytes each time", async () => {
  const [a, b] = [await seal(ONE, "v"), await seal(ONE, "v")];
  expect(Buffer.from(a.data ?? []).equals(b.data ?? Buffer.of())).toBe(false);
});

describe("several keys", () => {
  it("encrypts with the first key, and decrypts with each", async () => {
    const old = await seal(ONE, "old");
    const rotated = `${TWO},${ONE}`;
    expect(Buffer.from((await seal(rotated, "new")).metadata?.["encryption-key-id"] ?? []).toString()).toBe(
      "two",
    );
    expect(await open(rotated, old)).toBe("old");
    expect(await open(rotated, await seal(rotated, "new"))).toBe("new");
  });

  it("decrypts and does not encrypt with `off` in location of the first key", async () => {
    expect(await open(`off,${ONE}`, await seal(ONE, "old"))).toBe("old");
    expect(await seal(`off,${ONE}`, "new")).toEqual(payload("new"));
  });
});

it("passes payloads through that were stored before encryption was turned on", async () =>
  expect(await open(ONE, payload("plain"))).toBe("plain"));

describe("a payload that cannot be decrypted", () => {
  const why = async (keys: string, sealed: Payload) =>
    open(keys, sealed).then(
      () => "opened",
      (error: { code: string; message: string }) => `${error.code}: ${error.message}`,
    );

  it("names the missing key and the configured ones", async () => {
    const sealed = await seal(ONE, "v");
    expect(await why(TWO, sealed)).toMatch(
      new RegExp(
        '^payload_unreadable: .* key "one", and this process was given only two; ' +
          "add it to TEMPERA_PAYLOAD_KEYS",
      ),
    );
    const none = createPayloadCodec({ newest: undefined, byId: new Map() });
    await expect(none.decode([sealed])).rejects.toThrow(/was given none/);
  });

  it("reports another key under the same id", async () => {
    const reported = await why(`one:${key("other")}`, await seal(ONE, "v"));
    expect(reported).toMatch(/^payload_unreadable: .* does not open it/);
    expect(reported).not.toContain(key("other"));
  });

  it("reports changed, cut and empty bytes", async () => {
    const sealed = await seal(ONE, "v");
    const data = Buffer.from(sealed.data ?? []);
    for (let at = 0; at < data.length; at++) {
      const changed = Buffer.from(data);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(await why(ONE, { ...sealed, data: changed })).toMatch(/^payload_unreadable/);
    }
    for (const length of [0, 5, 12, 20, 28, data.length - 1])
      expect(await why(ONE, { ...sealed, data: data.subarray(0, length) })).toMatch(/^payload_unreadable/);
  });
});

describe("a payload is bound to its location", () => {
  const NAMESPACE = "tempera";
  const workflow = (workflowId: string) => ({ type: "workflow", namespace: NAMESPACE, workflowId }) as const;
  const activity = (workflowId: string, activityId: string) =>
    ({ type: "activity", namespace: NAMESPACE, workflowId, activityId, isLocal: false }) as const;
  const A = workflow("request-of-owner-a");
  const B = workflow("request-of-owner-b");
  const keys = parsePayloadKeys(ONE);
  const codec = createPayloadCodec(keys);
  const strict = createPayloadCodec(keys, "required");
  const unbound = createPayloadCodec(keys, "off");
  const sealed = (context = A) => only(codec.encode([payload("v")], context));
  const read = async (decoded: Promise<Payload[]>): Promise<unknown> =>
    defaultPayloadConverter.fromPayload(await only(decoded));

  it.each([
    ["another workflow", A, B],
    ["another namespace", A, { ...A, namespace: "other" }],
    ["an activity of its workflow", A, activity(A.workflowId, "1")],
    ["another activity of its workflow", activity(A.workflowId, "1"), activity(A.workflowId, "2")],
    ["the activity of another workflow", activity(A.workflowId, "1"), activity(B.workflowId, "1")],
    ["a workflow whose id could be read as an activity's", activity("a", "b"), workflow("a/b")],
  ])("is refused when it was copied to %s", async (_, from, to) => {
    const stored = await only(codec.encode([payload("v")], from));
    expect(await read(codec.decode([stored], from))).toBe("v");
    await expect(codec.decode([stored], to)).rejects.toMatchObject({
      code: "payload_unreadable",
      message: expect.stringContaining("it was copied there"),
    });
    // A thief who also renames the location, or leaves it out, does not get further.
    for (const name of [locationOf(to), ""]) {
      const renamed = {
        ...stored,
        metadata: { ...stored.metadata, "encryption-location": Buffer.from(name) },
      };
      await expect(codec.decode([renamed], to)).rejects.toMatchObject({ code: "payload_unreadable" });
      await expect(codec.decode([renamed])).rejects.toMatchObject({ code: "payload_unreadable" });
    }
  });

  it("is read from any run of one schedule: Temporal hands the results of one to the next", async () => {
    const stored = await sealed(workflow("tempera-retention-2026-11-30T03:00:00Z"));
    for (const id of ["tempera-retention", "tempera-retention-2026-12-01T03:00:00Z"])
      expect(await read(codec.decode([stored], workflow(id)))).toBe("v");
    await expect(codec.decode([stored], workflow("tempera-usage"))).rejects.toThrow(/copied there/);
  });

  it("is shown by the codec server, which knows no location", async () =>
    expect(await read(strict.decode([await sealed()]))).toBe("v"));

  it("is refused without a location, or as plaintext, only once binding is required", async () => {
    const previous = await only(unbound.encode([payload("v")], A));
    expect(Object.keys(previous.metadata ?? {})).toHaveLength(2);
    for (const stored of [previous, payload("v")]) {
      expect(await read(codec.decode([stored], A))).toBe("v");
      expect(await read(unbound.decode([stored], A))).toBe("v");
      await expect(strict.decode([stored], A)).rejects.toMatchObject({
        code: "payload_unreadable",
        message: expect.stringContaining("TEMPERA_PAYLOAD_BINDING"),
      });
    }
    expect(await read(strict.decode([await sealed()], A))).toBe("v");
  });
});

it("refuses a tag that was cut to a length that is easier to guess", async () => {
  const nonce = Buffer.alloc(12);
  const cipher = createCipheriv("aes-256-gcm", createHash("sha256").update("1").digest(), nonce);
  cipher.final();
  const metadata = (await seal(ONE, "v")).metadata ?? {};
  for (const length of [4, 8, 12, 15]) {
    const data = Buffer.concat([nonce, cipher.getAuthTag().subarray(0, length)]);
    await expect(codecOf(ONE).decode([{ metadata, data }])).rejects.toMatchObject({
      code: "payload_unreadable",
    });
  }
});

it("refuses malformed keys of a configuration by their position, never with their bytes", () => {
  const secret = key("3").slice(0, 20);
  for (const [text, message] of [
    [`one:${secret}`, /"one" has 15 bytes, it must have 32/],
    [`${ONE},${ONE}`, /"one" is used twice/],
    [`${ONE},${secret}`, /key 2 must be <id>/],
    [`${ONE},`, /key 2 must be <id>/],
    ["", /key 1 must be/],
  ] as const) {
    expect(() => parsePayloadKeys(text)).toThrow(message);
    expect(() => parsePayloadKeys(text)).not.toThrow(secret);
  }
});

it("is encoded as protobuf: known bytes match, unknown fields are skipped, broken ones are refused", () => {
  // Metadata {k: 00 01 02 ff ff}, data "a".
  const bytes = Buffer.from("0a0a0a016b1205000102ffff120161", "hex");
  const value: Payload = { metadata: { k: Buffer.from("000102ffff", "hex") }, data: Buffer.from("a") };
  expect(encodePayload(value).toString("hex")).toBe(bytes.toString("hex"));
  expect(
    decodePayload(
      Buffer.concat([
        Buffer.from("1805", "hex"),
        bytes,
        Buffer.from("25000000002900000000000000001a00", "hex"),
      ]),
    ),
  ).toEqual(value);
  for (const broken of ["0a", "0aff", "12ffffffffffffffffff01", "13", "120561"])
    expect(() => decodePayload(Buffer.from(broken, "hex"))).toThrow(RangeError);
});
