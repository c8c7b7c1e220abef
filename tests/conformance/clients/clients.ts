/** The clients of the suite by their names on the command line. */
import type { Client } from "./check.ts";
import { java } from "./jvm.ts";

export const CLIENTS: Record<string, Client> = { java };
