import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import type { Plan } from "../../../../core/owners/plan.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { ALLOWANCE, ALLOWANCE_CHANGE, allowanceBody, readAllowance } from "./quota-schema.ts";
import { PAGE_ANSWER, WHOLE } from "../../http/page.ts";
import type { AddVerb } from "../../http/route.ts";

/** What owners and plans may be called. */
export const NAME = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,64}$/, "Input should be 1 to 64 letters, digits, dots, dashes or underscores");

const PLAN = z.object({ plan: z.string(), allowance: ALLOWANCE, updated_at: z.string() }).openapi("Plan");

const planBody = ({ planId, allowance, updatedAtMs }: Plan) => ({
  plan: planId,
  allowance: allowanceBody(allowance),
  updated_at: new Date(updatedAtMs).toISOString(),
});

/**
 * Plans: what their owners may use (docs/limits.md). Two admins who change different fields of one plan at
 * the same time both have their way; of two who change the same field, the later one has.
 */
export function addPlanVerbs(add: AddVerb, { plans }: Pick<ApiDependencies, "plans">): void {
  add(
    {
      method: "get",
      path: "/v1/tempera/plans",
      says: "Lists the plans by name.",
      scope: "ADMIN",
      answer: z.object({ plans: z.array(PLAN), ...PAGE_ANSWER }),
    },
    async () => ({ plans: (await plans.plans()).map(planBody), ...WHOLE }),
  );

  add(
    {
      method: "patch",
      path: "/v1/tempera/plans/{plan}",
      says: "Changes the named fields of a plan, and makes it when there is none. Gateways go by it within seconds.",
      scope: "ADMIN",
      params: z.object({ plan: NAME }),
      body: ALLOWANCE_CHANGE,
      audit: "plans.change",
      answer: PLAN,
    },
    async ({ params, body, change }) => {
      const before = await plans.plan(params.plan);
      return change({ subject: params.plan, ...(before && { before: planBody(before) }) }, async () => {
        const after = planBody(await plans.changePlan(params.plan, readAllowance(body)));
        return { after, result: after };
      });
    },
  );

  add(
    {
      method: "delete",
      path: "/v1/tempera/plans/{plan}",
      says: "Removes a plan that no owner has.",
      scope: "ADMIN",
      params: z.object({ plan: z.string() }),
      audit: "plans.remove",
      status: 204,
      errors: ["plan_unknown", "plan_in_use"],
    },
    async ({ params, change }) => {
      const before = await plans.plan(params.plan);
      if (!before) throw new TemperaError("plan_unknown");
      return change({ subject: params.plan, before: planBody(before) }, async () => {
        const removed = await plans.removePlan(params.plan);
        if (removed !== "removed")
          throw new TemperaError(removed === "in_use" ? "plan_in_use" : "plan_unknown");
        return { result: undefined };
      });
    },
  );
}
