import { Hono } from "hono";
import { expect, it } from "vitest";
import { wideBudgets } from "../../../tests/setup/wide-budgets.ts";
import { LIMITS } from "../../core/limits.ts";
import { Turns } from "../limits/turns.ts";
import { inTurn, setBodyShare } from "./body-share.ts";

/** Counts what the calls of one sender do in the same turn of the event loop. */
async function mostInOneTurn(bytes: number): Promise<number> {
  const turns = new Turns({ rest: async () => {} });
  const { bodies } = wideBudgets();
  let turn = 0;
  const workedIn: number[] = [];
  const app = new Hono();
  app.post("/", async (c) => {
    using hold = bodies.acquire("ann", bytes);
    setBodyShare(c, { hold, turns, sender: "ann" });
    return c.text(await inTurn(c, () => String(workedIn.push(turn))));
  });
  let all = false;
  const answers = Promise.all([1, 2, 3].map(() => app.request("/", { method: "POST" }))).then((each) => {
    all = true;
    return each;
  });
  for (; !all; turn++) await new Promise((next) => setImmediate(next));
  expect((await answers).map(({ status }) => status)).toEqual([200, 200, 200]);
  return Math.max(...workedIn.map((at) => workedIn.filter((other) => other === at).length));
}

it("lets the work on a large body wait for a turn of the event loop", async () => {
  expect(await mostInOneTurn(LIMITS.bodyTurnBytesMin)).toBe(1);
});

it("does the work on a small one at once", async () => {
  expect(await mostInOneTurn(LIMITS.bodyTurnBytesMin - 1)).toBe(3);
});

it("does the work of a call without a body at once", async () => {
  const app = new Hono();
  app.get("/", async (c) => c.text(await inTurn(c, () => "done")));
  expect(await (await app.request("/")).text()).toBe("done");
});
