/** The manifest of a model package without weights. */
export const ECHO_MANIFEST = {
  endpoint: "acme/echo",
  version: "1.0.0",
  title: "Echo",
  description: "Says what it hears.",
  category: "text-to-text",
  runner: "stub",
  engine: "stub",
  memoryMiB: 10,
  files: {},
};
