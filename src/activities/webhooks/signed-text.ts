import type { SignAddress } from "../../core/files/private-address.ts";

/** Characters of a private address beside its root: quotes, id, name and mark. */
const BESIDE_ROOT_MAX = 300;

/** Signs the private addresses in JSON text on behalf of one owner, each address once. */
interface SignedText {
  of(json: string): string;
  /** Does the same for text in chunks, of which few bytes are held back. */
  ofChunks(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer>;
}

/**
 * @param roots beginnings of the addresses of this platform's files: `http://localhost:8080/files/`
 */
export function createSignedText(
  { signAddress, roots }: { signAddress: SignAddress; roots: readonly string[] },
  ownerId: string,
): SignedText {
  const root = roots.map((each) => each.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
  const marked = new RegExp(`"(?:${root})[0-9a-f]{32}/[A-Za-z0-9._-]{1,200}\\?identity="`, "g");
  const heldMax = Math.max(0, ...roots.map(({ length }) => length)) + BESIDE_ROOT_MAX;
  // The text is read twice, to hash and to send it, and has to be the same.
  const signed = new Map<string, string>();
  const sign = (quoted: string): string => {
    const known = signed.get(quoted) ?? `"${signAddress(quoted.slice(1, -1), ownerId)}"`;
    signed.set(quoted, known);
    return known;
  };
  const of = (json: string): string => json.replace(marked, sign);
  return {
    of,
    async *ofChunks(chunks) {
      let held = "";
      for await (const chunk of chunks) {
        // One character for each byte: an address is ASCII, and nothing else is changed.
        const text = of(held + Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length).toString("latin1"));
        held = text.slice(-heldMax);
        yield Buffer.from(text.slice(0, text.length - held.length), "latin1");
      }
      yield Buffer.from(held, "latin1");
    },
  };
}
