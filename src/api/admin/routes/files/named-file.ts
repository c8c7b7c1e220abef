import { onGateway, parseFilePath, TREES, treeOfHost } from "../../../../fal/index.ts";

/** A file of this platform: one with a record, or an artifact, which has none. */
export type NamedFile =
  | { kind: "file"; fileId: string; name: string }
  | { kind: "artifact"; path: string; key: string; hash: string };

/**
 * Returns the file that a URL of this platform names, on the gateway's host or on the files host; `undefined`
 * for any other URL.
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
    hash: found.path.slice(3, 67),
  };
}
