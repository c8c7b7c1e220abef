import { createSignAddress, type SignAddress } from "../core/files/private-address.ts";
import { systemClock } from "../core/operations/clock.ts";
import type { Parts } from "./parts.ts";

/** Composes what signs the addresses of files, the same in every process of the installation. */
export async function fileSigning({
  secrets,
  config,
}: Pick<Parts, "secrets" | "config">): Promise<{ uploadSecret: Uint8Array; signAddress: SignAddress }> {
  const secret = await secrets.secret("uploads");
  const seconds = () => config.server.fileUrlSeconds;
  return { uploadSecret: secret, signAddress: createSignAddress({ secret, clock: systemClock, seconds }) };
}

/** Lists the bases of file addresses in outputs: the present, and that from before files had their own. */
export const outputUrls = ({ filesUrl, publicUrl }: Pick<Parts, "filesUrl" | "publicUrl">): string[] => [
  ...new Set([filesUrl, publicUrl]),
];
