import { type Budgets, createBudgets } from "../../api/limits/budgets.ts";
import type { Config } from "../../config/settings.ts";

/** Makes the budgets of a process's callers. A change of the configuration takes effect at the next use. */
export function ownerBudgets({ server, realtime }: Pick<Config, "server" | "realtime">): Budgets {
  const { bodyBytesMax } = server;
  return createBudgets(() => ({
    socketsMax: realtime.socketsMax,
    socketsOfOwnerMax: realtime.socketsOfOwnerMax,
    openCallsMax: server.openCallsMax,
    openCallsOfOwnerMax: server.runsMax,
    bodiesBytesMax: server.bodiesBytesMax,
    bodiesBytesOfOwnerMax: server.bodiesBytesOfOwnerMax,
    bodyBytesMax,
  }));
}
