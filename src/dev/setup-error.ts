/**
 * Something this machine lacks or that is in the way (a program that cannot be had, a port in use), told in
 * one line that names the remedy. Whoever starts the platform prints the message alone, without a stack.
 */
export class SetupError extends Error {
  override readonly name = "SetupError";
  readonly code = "setup_failed";
}
