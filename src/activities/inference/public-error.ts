import { CATALOGUE } from "../../core/errors/catalogue.ts";
import type { ErrorInfo } from "../../core/errors/tempera-error.ts";

/**
 * Returns the error as a caller may see it. The failure of one of our stores becomes the contract's
 * `internal_error`; `report` receives the full message for the operators.
 */
export function publicError(info: ErrorInfo, report: (message: string) => void): ErrorInfo {
  if (CATALOGUE[info.code].kind !== "gateway") return info;
  report(info.message);
  return { code: "internal_error", message: CATALOGUE.internal_error.message };
}
