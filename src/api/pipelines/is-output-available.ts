import { retrieve } from "../../core/files/stored-value.ts";
import type { Json, JsonObject, Stored } from "../../core/json/json.ts";
import { namedFile } from "../admin/routes/files/named-file.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { StoredReader } from "../limits/counted-reads.ts";

/** The stores of outputs and of their files. */
export type OutputStores = Pick<ApiDependencies, "files" | "clock"> & { objects: StoredReader };

/** Tells whether an output can still be used: it exists, and so does every file of this server in it. */
export async function isOutputAvailable(stores: OutputStores, output: Stored<JsonObject>): Promise<boolean> {
  if ("ref" in output && !(await stores.objects.head(output.ref))) return false;
  const urls = urlsOf(await retrieve(stores.objects, output));
  const available = await Promise.all([...urls].map((url) => isFileAvailable(stores, url)));
  return available.every(Boolean);
}

/** Collects every string that is an address, at any depth. */
function urlsOf(output: JsonObject): Set<string> {
  const urls = new Set<string>();
  const walk = (value: Json): void => {
    if (typeof value === "string" && /^https?:/i.test(value)) urls.add(value);
    if (typeof value === "object" && value !== null) for (const item of Object.values(value)) walk(item);
  };
  walk(output);
  return urls;
}

async function isFileAvailable({ objects, files, clock }: OutputStores, url: string): Promise<boolean> {
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
