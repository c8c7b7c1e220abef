/**
 * Runs one attack of `attacks.ts` in a process of its own: `attacker.ts <name> <seconds>`, with the target in
 * `STRANGERS_TARGET`. It yields to everything else on the machine, since a real attacker brings processors of
 * his own. Prints the number of answers by status as JSON.
 */
import { setPriority } from "node:os";
import { ATTACKS, type Target } from "./attacks.ts";

const LOWEST_PRIORITY = 19;

const [name = "", seconds = ""] = process.argv.slice(2);
const attack = ATTACKS[name];
if (!attack) throw new Error(`no attack "${name}"`);
setPriority(LOWEST_PRIORITY);
process.stdout.write("attacking\n");
const counts = await attack({
  ...(JSON.parse(process.env.STRANGERS_TARGET ?? "{}") as Omit<Target, "untilMs">),
  untilMs: performance.now() + Number(seconds) * 1_000,
});
process.stdout.write(`${JSON.stringify(counts)}\n`);
process.exit();
