import type { Command } from "commander";

/**
 * Adds `tls ca|renew`: the certificates of the local authority in the data folder. They need no running
 * platform.
 */
export function addTlsCommands(program: Command): void {
  const authority = async () => {
    const [{ loadConfig }, { localAuthority }] = await Promise.all([
      import("../../../config/load-config.ts"),
      import("../../../bin/tls.ts"),
    ]);
    const config = loadConfig();
    if (config.tls.cert || config.tls.key)
      throw new Error(
        "TEMPERA_TLS_CERT is configured, so the local authority is not used; " +
          "renew the certificate where it was issued.",
      );
    return localAuthority(config);
  };
  const tls = program.command("tls").description("show and renew the certificates of the local authority");
  tls
    .command("ca")
    .description("print the path of the CA certificate that clients must trust; the first use creates it")
    .action(async () => {
      process.stdout.write(`${(await authority()).caFile}\n`);
    });
  tls
    .command("renew")
    .description(
      "make a new server certificate now; a running gateway loads it within the hour, clients need no change",
    )
    .action(async () => {
      await (await authority()).renew();
      process.stdout.write("renewed; a running gateway loads it within the hour, or at its next start\n");
    });
}
