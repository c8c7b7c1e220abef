import { type Budgets, createBudgets } from "../../src/api/limits/budgets.ts";

/** Makes budgets that no test exhausts, for tests about something else. */
export function wideBudgets(): Budgets {
  return createBudgets(() => ({
    socketsMax: 100,
    socketsOfOwnerMax: 100,
    openCallsMax: 100,
    openCallsOfOwnerMax: 100,
    bodiesBytesMax: 1e9,
    bodiesBytesOfOwnerMax: 1e9,
    bodyBytesMax: 1e6,
  }));
}
