import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import type { Plan } from "../../../../core/owners/plan.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { PAGE_FIELDS, SINGLE_PAGE } from "../../http/page.ts";
import type { AddRoute } from "../../http/route.ts";
import { limitsBody, PLAN_LIMITS, PLAN_LIMITS_CHANGE, readLimits } from "./limits-schema.ts";

/** The name of an owner or a plan. */
export const NAME = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,64}$/, "Input should be 1 to 64 letters, digits, dots, dashes or underscores");

const PLAN = z.object({ plan: z.string(), limits: PLAN_LIMITS, updated_at: z.string() }).openapi("Plan");

const planBody = ({ planId, limits, updatedAtMs }: Plan) => ({
  plan: planId,
  limits: limitsBody(limits),
  updated_at: new Date(updatedAtMs).toISOString(),
});

/**
 * Adds the routes of plans: named sets of limits that owners have (docs/limits.md). When two admins change a
 * plan at the same time, changes of different fields are both kept; of the same field, the later one is.
 */
export function addPlanRoutes(addRoute: AddRoute, { plans }: Pick<ApiDependencies, "plans">): void {
  addRoute(
    {
      method: "get",
      path: "/v1/tempera/plans",
      summary: "Lists the plans by name.",
      scope: "ADMIN",
      response: z.object({ plans: z.array(PLAN), ...PAGE_FIELDS }),
    },
    async () => ({ plans: (await plans.plans()).map(planBody), ...SINGLE_PAGE }),
  );

  addRoute(
    {
      method: "patch",
      path: "/v1/tempera/plans/{plan}",
      summary:
        "Changes the named fields of a plan, and creates the plan if there is none. " +
        "Gateways apply the change within seconds.",
      scope: "ADMIN",
      params: z.object({ plan: NAME }),
      body: PLAN_LIMITS_CHANGE,
      audit: "plans.change",
      response: PLAN,
    },
    async ({ params, body, change }) => {
      const before = await plans.plan(params.plan);
      return change({ subject: params.plan, ...(before && { before: planBody(before) }) }, async () => {
        const after = planBody(await plans.changePlan(params.plan, readLimits(body)));
        return { after, result: after };
      });
    },
  );

  addRoute(
    {
      method: "delete",
      path: "/v1/tempera/plans/{plan}",
      summary: "Removes a plan that no owner has.",
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
