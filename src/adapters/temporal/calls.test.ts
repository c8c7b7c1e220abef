import { expect, it } from "vitest";
import { isInDoubt } from "../../core/errors/tempera-error.ts";
import { createTemporalCalls } from "./calls.ts";
import { createLazyTemporal } from "./connect.ts";

it("refuses calls without doubt until Temporal is reached, and sends the first one after that", async () => {
  const address = process.env.TEST_TEMPORAL_ADDRESS ?? "";
  const temporal = createLazyTemporal({ address, namespace: "default" });
  using calls = createTemporalCalls(temporal.client);
  const describe = () => temporal.client.workflowService.describeNamespace({ namespace: "default" });
  expect(calls.isAway).toBe(true);
  const refusal = await calls.change(describe).catch((error: unknown) => error);
  expect([refusal, isInDoubt(refusal)]).toMatchObject([{ code: "temporal_unavailable" }, false]);
  await temporal.open();
  try {
    expect(calls.isAway).toBe(false);
    expect(await calls.change(describe)).toMatchObject({ namespaceInfo: { name: "default" } });
  } finally {
    await temporal.close();
  }
});
