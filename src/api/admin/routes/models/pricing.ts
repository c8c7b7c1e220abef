import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { Price } from "../../../../core/models/model.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { ENDPOINT_IDS, servedOf } from "./endpoints.ts";
import { PAGE_ANSWER, WHOLE } from "../../http/page.ts";
import type { AddVerb } from "../../http/route.ts";

const FREE: Price = { unit: "request", unitPrice: 0, currency: "USD" };

const QUANTITY = z.number().nonnegative().max(1e12);

/**
 * What a call costs: the prices that the models' manifests name (contract §10). A pipeline costs what its
 * nodes do, and nothing itself.
 */
export function addPricingVerbs(add: AddVerb, { registry }: Pick<ApiDependencies, "registry">): void {
  add(
    {
      method: "get",
      path: "/v1/models/pricing",
      says: "Tells the price of endpoints; one without a price in its manifest costs nothing.",
      scope: "API",
      query: z.object({ endpoint_id: ENDPOINT_IDS }),
      answer: z.object({
        prices: z.array(
          z.object({
            endpoint_id: z.string(),
            unit_price: z.number(),
            unit: z.string(),
            currency: z.string(),
          }),
        ),
        ...PAGE_ANSWER,
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
      ...WHOLE,
    }),
  );

  add(
    {
      method: "post",
      path: "/v1/models/pricing/estimate",
      says: "Estimates what calls would cost. A call is taken for one unit.",
      scope: "API",
      body: z.object({
        estimate_type: z.enum(["historical_api_price", "unit_price"]).openapi({
          description: "historical_api_price counts calls (call_quantity), unit_price units (unit_quantity).",
        }),
        endpoints: z
          .record(
            z.string(),
            z.object({ call_quantity: QUANTITY.optional(), unit_quantity: QUANTITY.optional() }),
          )
          .refine((endpoints) => Object.keys(endpoints).length > 0, "Input should name at least one endpoint")
          .refine(
            (endpoints) => Object.keys(endpoints).length <= LIMITS.endpointsAskedMax,
            `Input should name at most ${LIMITS.endpointsAskedMax} endpoints`,
          ),
      }),
      audit: null,
      answer: z.object({ estimate_type: z.string(), total_cost: z.number(), currency: z.string() }),
      errors: ["endpoint_unknown"],
    },
    async ({ body: { estimate_type, endpoints } }) => {
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
      // Sums of decimal fractions, told without the dust of binary ones.
      return {
        estimate_type,
        total_cost: Number(total.toPrecision(12)),
        currency: [...currencies][0] ?? prices[0]?.currency ?? "USD",
      };
    },
  );
}
