import type { Command } from "commander";

/**
 * What clients have to trust, and a new certificate before its time. Works on the data folder; nothing needs
 * to run.
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
        "TEMPERA_TLS_CERT is configured, so the local authority is not used; whoever issued that certificate renews it.",
      );
    return localAuthority(config);
  };
  const tls = program.command("tls").description("the certificates of the local authority");
  tls
    .command("ca")
    .description("print the path of the certificate that clients have to trust; made on first use")
    .action(async () => {
      process.stdout.write(`${(await authority()).caFile}\n`);
    });
  tls
    .command("renew")
    .description(
      "make a new server certificate now; a running gateway takes it up within the hour, clients need no change",
    )
    .action(async () => {
      await (await authority()).renew();
      process.stdout.write("renewed; a running gateway takes it up within the hour, or at its next start\n");
    });
}
