import { type Budgets, createBudgets } from "../../api/limits/budgets.ts";
import type { Config } from "../../config/settings.ts";

/** Makes the budgets of a process's callers. A change of the configuration takes effect at the next use. */
export function ownerBudgets({ server, realtime }: Pick<Config, "server" | "realtime">): Budgets {
  return createBudgets({
    get socketsMax() {
      return realtime.socketsMax;
    },
    get socketsOfOwnerMax() {
      return realtime.socketsOfOwnerMax;
    },
    get openCallsMax() {
      return server.openCallsMax;
    },
    get openCallsOfOwnerMax() {
      return server.runsMax;
    },
    get bodiesBytesMax() {
      return server.bodiesBytesMax;
    },
    get bodiesBytesOfOwnerMax() {
      return server.bodiesBytesOfOwnerMax;
    },
    bodyBytesMax: server.bodyBytesMax,
  });
}
