/**
 * A private address is the address of a file that its owner's plan keeps private. In a record it ends with a
 * mark, and each answer has a fresh signature in place of the mark: records never change, and no signature is
 * kept in them.
 */
import type { Json } from "../json/json.ts";
import type { Clock } from "../operations/clock.ts";
import { createSignatures } from "./signatures.ts";

/** Ends a private address in a record. It opens nothing: without a signature, the file is hidden. */
export const SIGNATURE_MARK = "?identity=";

/** Longest text that is looked at for a signature: a data URI is none. */
const ADDRESS_CHARACTERS_MAX = 8_192;

/** The signature of an address, with the owner on whose behalf it reads. */
const SIGNATURE = /\?identity=\d{1,12}\.([\w-]{1,1000})\.[\w-]{43}$/;

/** The end of a private address: the file's id and name, and the mark. */
const MARKED = /\/([0-9a-f]{32})\/[A-Za-z0-9._-]{1,200}\?identity=$/;

/**
 * Returns an address of this platform as an answer to `ownerId` has it: a private one is signed on that
 * owner's behalf, for a time. The caller must know that the address leads to this platform, so that no
 * signature is sent anywhere else.
 */
export type SignAddress = (address: string, ownerId: string) => string;

/** @param seconds gives the time that a signature is valid; it may change while the process runs */
export function createSignAddress({
  secret,
  clock,
  seconds,
}: {
  secret: Uint8Array;
  clock: Clock;
  seconds: () => number;
}): SignAddress {
  const signatures = createSignatures({ secret, clock });
  return (address, ownerId) => {
    const fileId = address.endsWith(SIGNATURE_MARK) ? MARKED.exec(address)?.[1] : undefined;
    if (fileId === undefined) return address;
    const untilMs = clock.nowMs() + seconds() * 1000;
    return address.slice(0, -SIGNATURE_MARK.length) + signatures.identityQuery(fileId, ownerId, untilMs);
  };
}

/**
 * Returns an input with the caller's own signatures replaced by the mark: an owner's files are found by their
 * ids, so the same file is the same input, whenever its address was signed. A signature of another owner is
 * left, since it is what opens that owner's file.
 */
export function withoutOwnSignatures<T extends Json>(input: T, ownerId: string): T {
  const owner = Buffer.from(ownerId).toString("base64url");
  return mapTexts(input, (text) => {
    if (text.length > ADDRESS_CHARACTERS_MAX || !text.includes(SIGNATURE_MARK)) return text;
    const found = SIGNATURE.exec(text);
    return found?.[1] === owner ? text.slice(0, found.index) + SIGNATURE_MARK : text;
  }) as T;
}

/** Maps every text of a value; what no text of changes is returned as it is, without a copy. */
export function mapTexts(value: Json, map: (text: string) => string): Json {
  if (typeof value === "string") return map(value);
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  if (Array.isArray(value)) {
    let copy: Json[] | undefined;
    for (let at = 0; at < value.length; at++) {
      const item = value[at] as Json;
      const mapped = mapTexts(item, map);
      if (mapped === item) continue;
      copy ??= [...value];
      copy[at] = mapped;
    }
    return copy ?? value;
  }
  const changed: [string, Json][] = [];
  for (const name of Object.keys(value)) {
    const item = value[name] as Json;
    const mapped = mapTexts(item, map);
    if (mapped !== item) changed.push([name, mapped]);
  }
  if (changed.length === 0) return value;
  // Not by assignment, which would set the prototype for the name `__proto__`.
  return Object.fromEntries([...Object.entries(value), ...changed]);
}
