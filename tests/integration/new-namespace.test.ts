/** A namespace that the platform creates at its first start accepts jobs as soon as it is reported ready. */
import { randomUUID } from "node:crypto";
import { expect, it } from "vitest";
import { connectTemporal } from "../../src/adapters/temporal/connect.ts";
import { prepareTemporal } from "../../src/adapters/temporal/prepare.ts";
import { ENDPOINT_ATTRIBUTE } from "../../src/adapters/temporal/search-attributes.ts";

it("knows its search attributes when workflows are started and listed, in each of several runs", async () => {
  for (let i = 0; i < 3; i++) {
    const namespace = `new-${randomUUID()}`;
    const { client, connection } = await connectTemporal({
      address: process.env.TEST_TEMPORAL_ADDRESS ?? "",
      namespace,
    });
    await prepareTemporal(client);
    const typedSearchAttributes = [{ key: ENDPOINT_ATTRIBUTE, value: "a/b" }];
    await client.workflow.start("nothing", {
      taskQueue: "nobody",
      workflowId: "first",
      typedSearchAttributes,
    });
    expect(await client.workflow.count('TemperaEndpoint = "none"')).toMatchObject({ count: 0 });
    await connection.close();
  }
});
