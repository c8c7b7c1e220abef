/**
 * A problem of this machine: a missing program, a port in use. The message is one line that names the remedy;
 * the platform's entry point prints it alone, without a stack trace.
 */
export class SetupError extends Error {
  override readonly name = "SetupError";
  readonly code = "setup_failed";
}
