/** Lists every conformance case of the contract (§15) by number. */
import type { Case } from "../case.ts";
import { cases as errors } from "./errors.ts";
import { cases as platform } from "./platform.ts";
import { cases as queue } from "./queue.ts";
import { cases as reach } from "./reach.ts";
import { cases as realtime } from "./realtime.ts";
import { cases as run } from "./run.ts";
import { cases as storage } from "./storage.ts";
import { cases as webhooks } from "./webhooks.ts";
import { cases as workflows } from "./workflows.ts";

/** Number of cases in the contract. */
export const CASES = 177;

const files: Record<string, Case[]> = {
  reach,
  queue,
  run,
  realtime,
  storage,
  errors,
  webhooks,
  platform,
  workflows,
};

/** Every case with the file that contains it. */
export const CASES_BY_NUMBER: (Case & { file: string })[] = Object.entries(files)
  .flatMap(([file, cases]) => cases.map((each) => ({ ...each, file: `cases/${file}.ts` })))
  .sort((a, b) => a.number - b.number);
