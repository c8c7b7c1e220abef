/** Writes the texts of a model package for an endpoint of fal. */
import { stringify } from "yaml";
import { writeJson } from "../../core/json/exact-json.ts";
import { isObject, type JsonObject } from "../../core/json/json.ts";
import type { PackageTexts } from "../../core/models/published-version.ts";
import { deriveRestrictions } from "./derive-restrictions.ts";
import type { EndpointContract } from "./openapi-document.ts";
import { profileOf } from "./runner-profile.ts";

/** The engine and runner of an endpoint, and what an operator has chosen. */
export interface ImportChoice {
  endpoint: string;
  version: string;
  engine: string;
  runner: string;
  /** Absent: what the runner's usual model needs. */
  memoryMiB?: number | undefined;
  parameters?: JsonObject | undefined;
}

export interface BuiltPackage {
  texts: Required<PackageTexts>;
  /** The fields that are served in part. */
  restricted: string[];
  /** The fields without effect, which each request's log notes. */
  noted: string[];
  /** False for a runner of which nothing is known: nothing was restricted. */
  isRunnerKnown: boolean;
}

/** Memory of a model of which nothing is known, in MiB: the operator corrects it. */
const UNKNOWN_MEMORY_MIB = 24_000;

/** Builds the texts. Throws when the runner can never take the endpoint's inputs. */
export function buildPackage(contract: EndpointContract, choice: ImportChoice): BuiltPackage {
  const { endpoint, version, engine, runner, parameters } = choice;
  const { title, description, category, input, output } = contract;
  const fields = Object.keys(isObject(input.properties) ? input.properties : {});
  const profile = profileOf(engine, runner, fields);
  const { restrictions, noted } = profile
    ? deriveRestrictions(input, profile)
    : { restrictions: [], noted: [] };
  const manifest = {
    endpoint,
    version,
    title,
    description,
    category,
    runner,
    engine,
    slots: profile?.manifest.slots ?? 1,
    memoryMiB: choice.memoryMiB ?? profile?.manifest.memoryMiB ?? UNKNOWN_MEMORY_MIB,
    ...(profile && { timeouts: profile.manifest.timeouts }),
    ...(parameters && { parameters }),
    ...(restrictions.length > 0 && { restrictions }),
  };
  const head = [
    "Written by `tempera models import-fal`. Correct memoryMiB to what the model needs on your device.",
    ...(noted.length > 0
      ? [`No effect by itself, which each request's log notes: ${noted.join(", ")}.`]
      : []),
    ...(profile ? [] : ["Restrict each field that the runner does not read: nothing here knows them."]),
  ];
  return {
    texts: {
      "model.yaml": `${head.map((line) => `# ${line}\n`).join("")}${stringify(manifest, { lineWidth: 110 })}`,
      "schemas/input.json": `${writeJson(input, 2)}\n`,
      "schemas/output.json": `${writeJson(output, 2)}\n`,
    },
    restricted: restrictions.map(({ field }) => field),
    noted,
    isRunnerKnown: profile !== undefined,
  };
}
