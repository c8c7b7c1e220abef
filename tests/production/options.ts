/** The options of a run. */
import { parseArgs } from "node:util";

export interface Options {
  seed: number;
  jobs: number;
  faults: number;
  /** No fault begins after this time. */
  minutes: number;
  /** Faults must have this text in their name. */
  only: string;
  overlap: boolean;
  check: boolean;
  /** The report as JSON: to a file, or to standard output for an empty name. */
  json?: string;
  build: boolean;
  /** Leaves everything out, and succeeds, when Temporal's server is not built. */
  ifBuilt: boolean;
  keep: boolean;
}

export const USAGE = `usage: npm run test:production -- [options]

  --seed <n>      decides jobs and faults (default: by the clock; printed)
  --jobs <n>      jobs to submit (default 300)
  --faults <n>    faults to make (default 40)
  --minutes <n>   no fault begins after this time (default: none)
  --only <text>   only faults whose name contains this text, such as "redis"
  --overlap       two faults at once in every third round
  --check         exit code 1 when a check fails
  --json <file>   also writes the report as JSON; - for standard output
  --keep          keeps the logs also when nothing was violated
  --if-built      leaves everything out when Temporal's server is not built
  --build         builds Temporal's server into the cache, and ends
`;

/** Reads the command line. Throws a sentence for what it cannot read. */
export function readOptions(args: string[]): Options | "help" {
  const { values } = parseArgs({
    args,
    options: {
      seed: { type: "string" },
      jobs: { type: "string", default: "300" },
      faults: { type: "string", default: "40" },
      minutes: { type: "string", default: "Infinity" },
      only: { type: "string", default: "" },
      overlap: { type: "boolean", default: false },
      check: { type: "boolean", default: false },
      json: { type: "string" },
      "if-built": { type: "boolean", default: false },
      build: { type: "boolean", default: false },
      keep: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return "help";
  const number = (name: string, text: string, least: number): number => {
    const value = Number(text);
    if (text.trim() === "" || Number.isNaN(value) || value < least)
      throw new Error(`--${name} ${text} is not a number of ${least} or more`);
    return value;
  };
  return {
    seed: values.seed === undefined ? Date.now() % 1_000_000 : number("seed", values.seed, 0),
    jobs: number("jobs", values.jobs, 1),
    faults: number("faults", values.faults, 0),
    minutes: number("minutes", values.minutes, 0),
    only: values.only,
    overlap: values.overlap,
    check: values.check,
    ...(values.json !== undefined && { json: values.json }),
    build: values.build,
    ifBuilt: values["if-built"],
    keep: values.keep,
  };
}
