import { resolve } from "node:path";
import type { Command } from "commander";
import { loadConfig } from "../../../config/load-config.ts";

/** Adds `models keygen|sign`: the keys that sign packages, and their signatures. Neither needs a platform. */
export function addSigningCommands(models: Command): void {
  models
    .command("keygen")
    .description("make a key pair that signs packages: <file> is secret, <file>.pub is for the servers")
    .argument("<file>")
    .action(async (file: string) => {
      const { makeSigningKey } = await import("../../sign-model.ts");
      const { keyId, publicKey } = makeSigningKey(file);
      process.stdout.write(`${publicKey}\n`);
      process.stderr.write(
        `Key ${keyId}. Keep ${file} secret; servers that have TEMPERA_REGISTRY_TRUSTED_KEYS=${publicKey} ` +
          "serve only packages that it has signed.\n",
      );
    });
  models
    .command("sign")
    .description("sign packages: writes signature.dsse.json into each folder")
    .argument("<folders...>")
    .requiredOption("--sign-key <file>", "the private key, as `models keygen` makes it")
    .action(async (folders: string[], { signKey }: { signKey: string }) => {
      const { signModelFolder } = await import("../../sign-model.ts");
      const schemas = await schemasFolder();
      for (const folder of folders) {
        const { endpoint, version } = signModelFolder(folder, schemas, signKey);
        process.stdout.write(`signed  ${endpoint} ${version}\n`);
      }
    });
}

/** Gives the configured folder of schemas. */
export async function schemasFolder(): Promise<string> {
  const { PROJECT } = await import("../../../bin/open-registry.ts");
  return resolve(PROJECT, loadConfig().folders.schemas);
}
