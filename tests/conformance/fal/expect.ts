/** Checks whose failure names in one line the request, the actual result and the expected one. */
import { AssertionError } from "node:assert";
import { type Answer, brief, type Json } from "./http.ts";

export function check(holds: unknown, message: string): asserts holds {
  if (!holds) throw new AssertionError({ message });
}

export function same(actual: unknown, expected: unknown, what: string): void {
  const [is, should] = [JSON.stringify(actual), JSON.stringify(expected)];
  check(is === should, `${what} is ${brief(is ?? "undefined")}, not ${brief(should ?? "undefined")}`);
}

/** Checks that the response has one of these statuses. */
export function status(answer: Answer, expected: number | number[], what: string): Answer {
  const wanted = [expected].flat();
  check(
    wanted.includes(answer.status),
    `${what}: ${answer.status} instead of ${wanted.join(" or ")}: ${brief(answer.text)}`,
  );
  return answer;
}

/** Checks that the body is a JSON object with a non-empty string or list `detail`. */
export function detail(answer: Answer, what: string): Json {
  const body = answer.json();
  check(
    (typeof body?.detail === "string" && body.detail !== "") ||
      (Array.isArray(body?.detail) && body.detail.length > 0),
    `${what}: the body has no \`detail\`: ${brief(answer.text)}`,
  );
  return body.detail;
}

export function matches(text: unknown, pattern: RegExp, what: string): void {
  check(
    typeof text === "string" && pattern.test(text),
    `${what} is ${brief(JSON.stringify(text) ?? "undefined")}, which does not match ${pattern}`,
  );
}

/** Checks that a promise rejects. Resolves to the error. */
export async function fails(doing: Promise<unknown>, what: string): Promise<Json> {
  const outcome = await doing.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  const value = "value" in outcome ? brief(JSON.stringify(outcome.value) ?? "nothing") : "";
  check("error" in outcome, `${what}: it succeeded, with ${value}`);
  return outcome.error;
}
