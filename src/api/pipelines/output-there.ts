import type { Json, JsonObject, Stored } from "../../core/json.ts";
import { retrieve } from "../../core/stored.ts";
import { parseFilePath, TREES } from "../../fal/index.ts";
import type { ApiDependencies } from "../dependencies.ts";

type Stores = Pick<ApiDependencies, "objects" | "files" | "clock">;

/**
 * Whether an output can still be handed on: itself, and every file of ours that it names. Addresses are known by their paths, as
 * everywhere (`own-file.ts`); what looks like one of ours and is not there counts as gone.
 */
export async function outputThere(stores: Stores, output: Stored<JsonObject>): Promise<boolean> {
  if ("ref" in output && !(await stores.objects.head(output.ref))) return false;
  const urls = urlsOf(await retrieve(stores.objects, output));
  const there = await Promise.all([...urls].map((url) => fileThere(stores, url)));
  return there.every(Boolean);
}

/** Every text that is an address, at any depth. */
function urlsOf(output: JsonObject): Set<string> {
  const urls = new Set<string>();
  const walk = (value: Json): void => {
    if (typeof value === "string" && /^https?:/i.test(value)) urls.add(value);
    if (typeof value === "object" && value !== null) for (const item of Object.values(value)) walk(item);
  };
  walk(output);
  return urls;
}

async function fileThere({ objects, files, clock }: Stores, url: string): Promise<boolean> {
  const path = URL.canParse(url) ? new URL(url).pathname : "";
  const at = path.indexOf(`${TREES.files.prefix}/`);
  const named = at < 0 ? undefined : parseFilePath(path.slice(at + TREES.files.prefix.length + 1));
  if (named?.kind === "artifact") return (await objects.head(`artifacts/${named.path}`)) !== undefined;
  if (named?.kind !== "file") return true;
  const file = await files.find(named.fileId);
  if (!file?.stored || file.objectKey === undefined) return false;
  const { expiresAtMs } = file.stored;
  return (expiresAtMs === undefined || expiresAtMs > clock.nowMs()) && (await objects.head(file.objectKey)) !== undefined;
}
