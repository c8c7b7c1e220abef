import { lookup, Resolver } from "node:dns/promises";
import { isIP } from "node:net";

/** Resolves a name to its addresses, at least one. Rejects with an error whose message is a sentence. */
export type Resolve = (name: string) => Promise<string[]>;

const QUERY = { timeout: 2_000, tries: 2 };

/**
 * Resolves names so that a name server that hangs does not block the process. The system's resolver occupies
 * one of four threads that file operations need too, so it is used only for names that DNS does not know
 * (`localhost`, the hosts file, search domains).
 */
export const resolveName: Resolve = async (name) => {
  if (isIP(name)) return [name];
  if (name.includes(".") && !name.endsWith(".localhost")) {
    const resolver = new Resolver(QUERY);
    const answers = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
    const found = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
    if (found.length > 0) return found;
    const silent = answers.some(
      (answer) => answer.status === "rejected" && answer.reason.code === "ETIMEOUT",
    );
    if (silent) throw new Error(`the name ${name} cannot be looked up: no name server answers`);
  }
  try {
    return (await lookup(name, { all: true })).map(({ address }) => address);
  } catch (error) {
    throw new Error(
      `the name ${name} cannot be found (${(error as NodeJS.ErrnoException).code ?? "no answer"})`,
      { cause: error },
    );
  }
};
