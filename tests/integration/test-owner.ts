import { randomUUID } from "node:crypto";
import type { TestPlatform } from "./platform.ts";

/** An owner whom no other test uses, with the headers of its calls. */
export interface TestOwner {
  ownerId: string;
  headers: Record<string, string>;
}

/** Makes an owner with an API key. */
export async function newTestOwner({ client }: Pick<TestPlatform, "client">): Promise<TestOwner> {
  const ownerId = `o-${randomUUID().slice(0, 8)}`;
  const { key } = await client.admin<{ key: string }>("POST", "/v1/keys", { alias: "a key", owner: ownerId });
  return { ownerId, headers: { authorization: `Key ${key}`, "content-type": "application/json" } };
}
