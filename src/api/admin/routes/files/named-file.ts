import { onGateway, parseFilePath, TREES, treeOfHost } from "../../../../fal/index.ts";

/** A file that an address of ours names: one with a record, or an artifact without. */
export type NamedFile =
  | { kind: "file"; fileId: string; name: string }
  | { kind: "artifact"; path: string; key: string; sha256: string };

/**
 * The file that an address names, whichever way of reaching the files tree it takes; `undefined` for an
 * address of anything else.
 *
 *     namedFile("http://localhost:8080/files/ab/ab12….png") // { kind: "artifact", … }
 */
export function namedFile(address: string): NamedFile | undefined {
  if (!URL.canParse(address)) return undefined;
  const { protocol, host, pathname } = new URL(address);
  if (protocol !== "http:" && protocol !== "https:") return undefined;
  const tree = treeOfHost(host);
  const path = tree ? onGateway(tree, pathname) : pathname;
  const root = path.indexOf(`${TREES.files.prefix}/`);
  if (root < 0) return undefined;
  const found = parseFilePath(path.slice(root + TREES.files.prefix.length + 1));
  if (found?.kind === "file" && !found.sign) return { kind: "file", fileId: found.fileId, name: found.name };
  if (found?.kind !== "artifact" || found.sign) return undefined;
  return {
    kind: "artifact",
    path: found.path,
    key: `artifacts/${found.path}`,
    sha256: found.path.slice(3, 67),
  };
}
