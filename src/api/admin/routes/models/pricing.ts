import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { Price } from "../../../../core/models/model.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { PAGE_FIELDS, SINGLE_PAGE } from "../../http/page.ts";
import type { AddRoute } from "../../http/route.ts";
import { ENDPOINT_IDS, servedOf } from "./endpoints.ts";

const FREE: Price = { unit: "request", unitPrice: 0, currency: "USD" };

const QUANTITY = z.number().nonnegative().max(1e12);

const ESTIMATE = z.object({
  estimate_type: z.enum(["historical_api_price", "unit_price"]).openapi({
    description:
      "historical_api_price counts calls (call_quantity), unit_price counts units (unit_quantity).",
  }),
  endpoints: z
    .record(z.string(), z.object({ call_quantity: QUANTITY.optional(), unit_quantity: QUANTITY.optional() }))
    .refine((endpoints) => Object.keys(endpoints).length > 0, "Input should name at least one endpoint")
    .refine(
      (endpoints) => Object.keys(endpoints).length <= LIMITS.endpointsPerCallMax,
      `Input should name at most ${LIMITS.endpointsPerCallMax} endpoints`,
    )
    .openapi({ minProperties: 1, maxProperties: LIMITS.endpointsPerCallMax }),
});

/**
 * Adds the routes of prices, which the models' manifests state (contract §10). A pipeline is free itself; its
 * nodes cost their own prices.
 */
export function addPricingRoutes(addRoute: AddRoute, { registry }: Pick<ApiDependencies, "registry">): void {
  addRoute(
    {
      method: "get",
      path: "/v1/models/pricing",
      summary: "Shows the prices of endpoints. An endpoint without a price in its manifest is free.",
      scope: "API",
      query: z.object({ endpoint_id: ENDPOINT_IDS }),
      response: z.object({
        prices: z.array(
          z.object({
            endpoint_id: z.string(),
            unit_price: z.number(),
            unit: z.string(),
            currency: z.string(),
          }),
        ),
        ...PAGE_FIELDS,
      }),
      errors: ["endpoint_unknown"],
    },
    async ({ query }) => ({
      prices: servedOf(registry, query.endpoint_id).map(({ endpoint, model: { price = FREE } = {} }) => ({
        endpoint_id: endpoint,
        unit_price: price.unitPrice,
        unit: price.unit,
        currency: price.currency,
      })),
      ...SINGLE_PAGE,
    }),
  );

  addRoute(
    {
      method: "post",
      path: "/v1/models/pricing/estimate",
      summary: "Estimates the cost of calls. A call counts as one unit.",
      scope: "API",
      body: ESTIMATE,
      audit: null,
      response: z.object({ estimate_type: z.string(), total_cost: z.number(), currency: z.string() }),
      errors: ["endpoint_unknown"],
    },
    async ({ body }) => estimate(registry, body),
  );
}

/** Throws `input_invalid` for an endpoint without a quantity, and for prices in several currencies. */
function estimate(
  registry: ApiDependencies["registry"],
  { estimate_type, endpoints }: z.output<typeof ESTIMATE>,
): { estimate_type: string; total_cost: number; currency: string } {
  const field = estimate_type === "unit_price" ? "unit_quantity" : "call_quantity";
  const prices = servedOf(registry, Object.keys(endpoints)).map(
    ({ endpoint, model: { price = FREE } = {} }) => {
      const quantity = endpoints[endpoint]?.[field];
      if (quantity === undefined) {
        const loc = ["body", "endpoints", endpoint, field];
        throw new TemperaError("input_invalid", `endpoints.${endpoint}.${field}: Field required`, {
          faults: [{ loc, msg: "Field required", type: "missing" }],
        });
      }
      return { ...price, cost: price.unitPrice * quantity };
    },
  );
  const currencies = new Set(prices.filter(({ cost }) => cost > 0).map(({ currency }) => currency));
  if (currencies.size > 1) {
    const msg = `The prices are in ${[...currencies].join(" and ")}; ask for each currency by itself`;
    throw new TemperaError("input_invalid", msg, {
      faults: [{ loc: ["body", "endpoints"], msg, type: "value_error" }],
    });
  }
  const total = prices.reduce((sum, { cost }) => sum + cost, 0);
  return {
    estimate_type,
    // Rounds away the binary representation error of decimal fractions.
    total_cost: Number(total.toPrecision(12)),
    currency: [...currencies][0] ?? prices[0]?.currency ?? "USD",
  };
}
