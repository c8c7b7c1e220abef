import type { Json, JsonObject, Stored } from "../../core/json/json.ts";
import { retrieve } from "../../core/files/stored-value.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { namedFile } from "../admin/routes/files/named-file.ts";

type Stores = Pick<ApiDependencies, "objects" | "files" | "clock">;

/**
 * Whether an output can still be handed on: itself, and every file of ours that it names.
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
  const named = namedFile(url);
  if (!named) return true;
  if (named.kind === "artifact") return (await objects.head(named.key)) !== undefined;
  const file = await files.find(named.fileId);
  if (!file?.stored || file.objectKey === undefined) return false;
  const { expiresAtMs } = file.stored;
  return (
    (expiresAtMs === undefined || expiresAtMs > clock.nowMs()) &&
    (await objects.head(file.objectKey)) !== undefined
  );
}
