import { expect, it } from "vitest";
import type { Flags } from "../../core/models/flags.ts";
import type { Registry } from "../../registry/registry.ts";
import { EXECUTION } from "../pipelines/execution.ts";
import { findCallerRoute } from "./caller-route.ts";

const route = (endpoint: string, off: string[] = []) =>
  findCallerRoute(
    {
      registry: { route: () => undefined, hasApp: () => false } as unknown as Registry,
      findPipeline: async () => undefined,
      flags: { isOn: (kind: string, name: string) => !off.includes(`${kind} ${name}`) } as Flags,
    },
    { ownerId: "ann" },
    { endpoint, requestId: "r" },
  );

it("routes workflows that come with a call to a route of their own, which a flag can disable", async () => {
  expect(await route("workflows/execute")).toBe(EXECUTION);
  await expect(route("workflows/execute", ["workflow workflows/execute"])).rejects.toMatchObject({
    code: "disabled_by_operator",
  });
});
