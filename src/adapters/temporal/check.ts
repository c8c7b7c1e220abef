import { type Client, WorkflowNotFoundError } from "@temporalio/client";
import { within } from "./within.ts";

const ANSWER_MS = 3_000;
/** No workflow has this id. */
const PROBED_WORKFLOW = "tempera-probe";

/**
 * Checks that Temporal serves this namespace: it has to look into its database for a workflow that does not
 * exist. Asking for the server's version would not do, since a server without its database gives that too.
 */
export async function checkTemporal(client: Client): Promise<void> {
  try {
    await within(ANSWER_MS, client.workflow.getHandle(PROBED_WORKFLOW).describe());
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError)) throw error;
  }
}
