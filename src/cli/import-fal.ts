/**
 * `tempera models import-fal`: writes the package of an endpoint of fal without its weights. Its schemas come
 * from an OpenAPI document, a file or fetched, or from the ones that ship. Either all files are written, or
 * none.
 */
import { existsSync } from "node:fs";
import { mkdir, open, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { timeoutSignal } from "../core/concurrency/timeout-signal.ts";
import { escapeControl } from "../core/json/escape-control.ts";
import { LIMITS } from "../core/limits.ts";
import { isEndpointId, pathSegments } from "../core/models/endpoint.ts";
import { SHIPPED_ENDPOINTS } from "../registry/fal-endpoints/endpoints.ts";
import type { ShippedEndpoint } from "../registry/fal-endpoints/shipped-endpoint.ts";
import { type BuiltPackage, buildPackage } from "../registry/fal-import/build-package.ts";
import { type EndpointContract, readOpenapi } from "../registry/fal-import/openapi-document.ts";
import { createManifestCheck } from "../registry/packages/package-check.ts";
import { createContentCheck } from "../registry/packages/package-content.ts";
import type { EngineRunners } from "../registry/packages/review-model.ts";

/** fal's public address of the OpenAPI documents. */
const OPENAPI_URL = "https://fal.ai/api/openapi/queue/openapi.json";

export interface ImportOptions {
  /** The file of an OpenAPI document. */
  document?: string | undefined;
  engine?: string;
  runner?: string;
  memoryMib?: string;
  /** The address to fetch the document from, before `?endpoint_id=`. */
  openapiUrl?: string;
}

/** The folders that packages are written to, and the engines that can serve them. */
export interface ImportTarget {
  /** The configured folders, absolute. */
  models: string;
  schemas: string;
  engines: EngineRunners;
}

/** Lines about what was written, and about what remains to be done. */
export interface ImportReport {
  out: string[];
  hints: string[];
}

const VERSION = /^\d+\.\d+\.\d+$/;

/**
 * Imports an endpoint. Throws an error of one line, and then leaves nothing behind.
 *
 * @param name an endpoint id, with `@<version>` behind it unless the version is 1.0.0
 */
export async function importFal(
  name: string,
  options: ImportOptions,
  target: ImportTarget,
): Promise<ImportReport> {
  const { endpoint, version } = readName(name);
  const memoryMiB = readMemory(options.memoryMib);
  const targets = targetsOf(endpoint, version, target);
  const shipped = Object.hasOwn(SHIPPED_ENDPOINTS, endpoint) ? SHIPPED_ENDPOINTS[endpoint] : undefined;
  const served = servedBy(endpoint, options, shipped, target.engines);
  const contract = await contractOf(endpoint, options, shipped);
  let built: BuiltPackage;
  try {
    built = buildPackage(contract, { endpoint, version, ...served, ...(memoryMiB && { memoryMiB }) });
  } catch (error) {
    throw new Error(`${endpoint} cannot be served: ${oneLine(error)}.`);
  }
  await checkPackage(endpoint, built, target);
  await writeFiles(targets, built);
  return reportOf(endpoint, targets, built, served.engine);
}

function readName(name: string): { endpoint: string; version: string } {
  const [id = "", version = "1.0.0", ...more] = name.split("@");
  const segments = pathSegments(id);
  // A folder that is named like a version is a package.
  if (!isEndpointId(id) || segments.some((segment) => VERSION.test(segment)))
    throw new Error(`"${shown(id)}" is no endpoint id; name one such as fal-ai/qwen-image.`);
  if (more.length > 0 || !VERSION.test(version))
    throw new Error(`"${shown(name)}" names no version; write ${segments.join("/")}@2.0.0.`);
  return { endpoint: segments.join("/"), version };
}

function readMemory(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,8}$/.test(text))
    throw new Error(`--memory-mib "${shown(text)}" is no number of MiB; write one such as 65000.`);
  return Number(text);
}

interface Targets {
  model: string;
  schemas: string;
}

function targetsOf(endpoint: string, version: string, folders: ImportTarget): Targets {
  const targets = {
    model: join(folders.models, endpoint, version),
    schemas: join(folders.schemas, "models", endpoint, version),
  };
  for (const folder of Object.values(targets))
    if (existsSync(folder))
      throw new Error(
        `${folder} exists, and a version never changes; import another version: ` +
          `${endpoint}@${Number(version.split(".")[0]) + 1}.0.0.`,
      );
  return targets;
}

type Served = NonNullable<ShippedEndpoint["servedBy"]>;

/** Finds the runner of an endpoint: the named one, or the one that is known to serve it. */
function servedBy(
  endpoint: string,
  { engine, runner }: ImportOptions,
  shipped: ShippedEndpoint | undefined,
  engines: EngineRunners,
): Served {
  if ((engine === undefined) !== (runner === undefined))
    throw new Error("Name both --engine and --runner, or neither.");
  const known = shipped?.servedBy;
  if (engine !== undefined && runner !== undefined) {
    const isKnown = known?.engine === engine && known.runner === runner;
    return isKnown ? known : { engine, runner };
  }
  if (known) return known;
  const runners = Object.entries(engines)
    .filter(([name]) => name !== "stub")
    .map(([name, list]) => (list ? `${name}: ${list.join(", ")}` : name))
    .join("; ");
  const reason = shipped?.unserved ?? "its runner is not known";
  throw new Error(
    `Nothing here serves ${endpoint}: ${reason}; name what does with --engine and --runner (${runners}).`,
  );
}

async function contractOf(
  endpoint: string,
  { document, openapiUrl }: ImportOptions,
  shipped: ShippedEndpoint | undefined,
): Promise<EndpointContract> {
  if (document !== undefined && openapiUrl !== undefined)
    throw new Error("Name a document or --openapi-url, not both.");
  if (document === undefined && openapiUrl === undefined && shipped) return shipped;
  const label = document ?? addressOf(openapiUrl ?? OPENAPI_URL, endpoint).href;
  const text = document === undefined ? await fetchDocument(label) : await readDocument(document);
  try {
    const read = readOpenapi(text, endpoint);
    return shipped ? { ...shipped, input: read.input, output: read.output } : read;
  } catch (error) {
    throw new Error(`${label}: ${oneLine(error)}.`);
  }
}

const TOO_LARGE = `is larger than ${LIMITS.schemaBytesMax / 1024 ** 2} MiB; write its schemas by hand.`;

async function readDocument(path: string): Promise<string> {
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    throw new Error(`${path} cannot be read (${error.code}); name the file of an OpenAPI document.`);
  });
  try {
    return await boundedText(file.createReadStream(), path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new Error(`${path} cannot be read (${code}); name the file of an OpenAPI document.`);
  } finally {
    await file.close().catch(() => undefined);
  }
}

function addressOf(base: string, endpoint: string): URL {
  const url = URL.canParse(base) ? new URL(base) : undefined;
  if (!url || !/^https?:$/.test(url.protocol))
    throw new Error(`--openapi-url "${shown(base)}" is no address; write one such as ${OPENAPI_URL}.`);
  url.searchParams.set("endpoint_id", endpoint);
  return url;
}

async function fetchDocument(url: string): Promise<string> {
  using timeout = timeoutSignal(LIMITS.openapiFetchMs);
  let response: Response;
  try {
    response = await fetch(url, { signal: timeout.signal, headers: { accept: "application/json" } });
  } catch (error) {
    throw unreachable(url, error);
  }
  if (!response.ok || !response.body) {
    await response.body?.cancel();
    throw new Error(`${url} has no document (HTTP ${response.status}); check the endpoint's name.`);
  }
  let text: string | undefined;
  try {
    text = await textWithin(response.body);
  } catch (error) {
    throw unreachable(url, error);
  }
  if (text === undefined) throw new Error(`${url} ${TOO_LARGE}`);
  return text;
}

function unreachable(url: string, error: unknown): Error {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return new Error(`${url} cannot be fetched (${oneLine(cause)}); name the document's file instead.`);
}

async function boundedText(chunks: AsyncIterable<Uint8Array>, label: string): Promise<string> {
  const text = await textWithin(chunks);
  if (text === undefined) throw new Error(`${label} ${TOO_LARGE}`);
  return text;
}

/** Reads a text; `undefined` when it is too large, and then not to its end. */
async function textWithin(chunks: AsyncIterable<Uint8Array>): Promise<string | undefined> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.byteLength;
    if (bytes > LIMITS.schemaBytesMax) return undefined;
    parts.push(chunk);
  }
  return Buffer.concat(parts).toString("utf8");
}

/** Throws unless `tempera models check` will accept the package. */
async function checkPackage(
  endpoint: string,
  { texts }: BuiltPackage,
  { schemas, engines }: ImportTarget,
): Promise<void> {
  const check = createContentCheck(createManifestCheck(schemas), engines);
  const checked = await check({ texts, files: {} });
  if ("faults" in checked) throw new Error(`${endpoint} would be faulty: ${checked.faults.join("; ")}.`);
}

async function writeFiles({ model, schemas }: Targets, { texts }: BuiltPackage): Promise<void> {
  const made: string[] = [];
  const makeFolder = async (folder: string): Promise<void> => {
    const first = await mkdir(folder, { recursive: true });
    if (first === undefined) throw new Error("it was made at the same time");
    made.push(first);
  };
  try {
    await makeFolder(schemas);
    await writeFile(join(schemas, "input.json"), texts["schemas/input.json"], { flag: "wx" });
    await writeFile(join(schemas, "output.json"), texts["schemas/output.json"], { flag: "wx" });
    // The registry finds a package by its manifest, so that comes last.
    await makeFolder(model);
    await writeFile(join(model, "model.yaml"), texts["model.yaml"], { flag: "wx" });
  } catch (error) {
    for (const folder of made) await rm(folder, { recursive: true, force: true });
    throw new Error(`${made.length === 0 ? schemas : model} cannot be written: ${oneLine(error)}.`);
  }
}

function reportOf(
  endpoint: string,
  { model, schemas }: Targets,
  { restricted, noted, isRunnerKnown }: BuiltPackage,
  engine: string,
): ImportReport {
  const page = engine === "diffusers" ? "docs/real-checkpoints.md" : "docs/adding-a-model.md";
  const files = [join(model, "model.yaml"), join(schemas, "input.json"), join(schemas, "output.json")];
  return {
    out: [
      ...files.map((file) => `wrote  ${file}`),
      ...(restricted.length > 0 ? [`restricted  ${restricted.map(escapeControl).join(", ")}`] : []),
      ...(noted.length > 0 ? [`no effect by itself, noted in each request's log  ${noted.join(", ")}`] : []),
    ],
    hints: [
      ...(isRunnerKnown
        ? []
        : [`Nothing is restricted: add to ${files[0]} each field that the engine ${engine} does not read.`]),
      `Put the weights into ${model} and set memoryMiB before the next start: the newest version of ` +
        `${endpoint} serves new requests (${page}).`,
    ],
  };
}

const shown = (text: string): string => escapeControl(text.slice(0, 100));

const oneLine = (error: unknown): string =>
  escapeControl((error instanceof Error ? error.message : String(error)).split("\n")[0] ?? "").replace(
    /\.$/,
    "",
  );
