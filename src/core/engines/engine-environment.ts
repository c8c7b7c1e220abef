/** Names of variables whose values are secrets, or addresses that contain one. */
const SECRET = /^TEMPERA_|KEY|SECRET|TOKEN|PASSW|CREDENTIAL|DSN|_UR[IL]$/i;

/**
 * Reads the names of environment variables that engines get, with commas between them. Throws a sentence for
 * a name that is none, or that promises a secret: engines run other people's code.
 */
export function parseEngineEnvironment(value: string): string[] {
  const names = value.split(",").map((name) => name.trim());
  for (const name of names) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
      throw new Error(`must be names of variables with commas between them; "${name}" is none`);
    if (SECRET.test(name))
      throw new Error(
        `must not name ${name}: engines run other people's code, and get no keys and addresses`,
      );
  }
  return [...new Set(names)];
}
