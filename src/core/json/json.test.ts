import { expect, it } from "vitest";
import { copyJson, type Json } from "./json.ts";

it("copies a value so that no change of the copy shows in it", () => {
  const text = '{"a":[1,{"b":null},[]],"__proto__":{"c":true},"d":{"e":"x"}}';
  const value = JSON.parse(text) as { a: [number, { b: Json }, Json[]]; d: { e: string } };
  const copy = copyJson(value);
  expect(JSON.stringify(copy)).toBe(text);
  expect(Object.getPrototypeOf(copy)).toBe(Object.prototype);
  copy.a[1].b = 2;
  copy.a[2].push(3);
  copy.d.e = "y";
  expect(JSON.stringify(value)).toBe(text);
});

it("copies large integers, and shares bytes", () => {
  const bytes = new Uint8Array([1, 2]) as unknown as Json;
  const copy = copyJson({ large: 2n ** 64n, bytes });
  expect(copy.large).toBe(2n ** 64n);
  expect(copy.bytes).toBe(bytes);
});
