import { CATALOGUE } from "../../core/errors/catalogue.ts";
import { isStoreFailure, publicSentence } from "../../core/errors/store-failure.ts";
import { type ErrorInfo, errorInfo } from "../../core/errors/tempera-error.ts";

/**
 * Returns a thrown error as a caller may see it: one without a code of the catalogue is the engine's. A store
 * that is away becomes the contract's `internal_error` and is named without its address; `report` receives
 * the full message for the operators, also of a full store.
 */
export function publicError(error: unknown, report: (message: string) => void): ErrorInfo {
  const info = errorInfo(error, "runner_server_error");
  if (isStoreFailure(error)) {
    report(info.message);
    if (error.code === "store_full") return info;
    return { code: "internal_error", message: publicSentence(error) };
  }
  if (CATALOGUE[info.code].kind !== "gateway") return info;
  report(info.message);
  return { code: "internal_error", message: CATALOGUE.internal_error.message };
}
