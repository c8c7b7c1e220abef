/** The limits of what an owner has stored: bytes and files. */
import { TemperaError } from "../errors/tempera-error.ts";

/** The number of an owner's stored files, and of their bytes. */
export interface StoredTotal {
  bytes: number;
  files: number;
}

/** An amount that does not fit into the limits of an owner. */
export interface StoredBeyond {
  unit: keyof StoredTotal;
  used: number;
  limit: number;
  /** The amount to be stored; absent: any at all. */
  more?: number;
}

/** Creates the error of an owner without room: it names what is used, the limit and the remedy. */
export function storageLimit({ unit, used, limit, more }: StoredBeyond): TemperaError {
  const text = (value: number): string => value.toLocaleString("en-US");
  const rest = more === undefined ? "all that you may have" : `and ${text(more)} more do not fit`;
  return new TemperaError(
    "storage_limit",
    `You have ${text(used)} of ${text(limit)} ${unit} stored, ${rest}. ` +
      "Delete results, let files expire (X-Fal-Object-Lifecycle-Preference), or ask the operator for more.",
  );
}
