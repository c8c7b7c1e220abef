import { expect, it } from "vitest";
import { loadConfig } from "./load-config.ts";
import { createLogger } from "./logger.ts";
import { createMask } from "./masked.ts";

const PASSWORD = 'p"ss:w/rd-hunter2';
const config = loadConfig({
  DATABASE_URL: `postgres://tempera:${encodeURIComponent(PASSWORD)}@db:5432/tempera`,
  S3_SECRET_KEY: "s3-secret-hunter2",
  TEMPERA_ADMIN_KEY: `6f1c2b3a-0000-4000-8000-00000000000a:${"admin-hunter2".padEnd(16, "x")}`,
  TEMPERA_PAYLOAD_KEYS:
    `one:${Buffer.alloc(32, "hunter2").toString("base64")},` +
    `two:${Buffer.alloc(32, "hunter3").toString("base64")}`,
  TEMPERA_KEY_PEPPER: "new-pepper-hunter2,old-pepper-hunter2",
});

it.each(["text", "json"] as const)("masks secrets in every sentence and field of a line in %s", (format) => {
  let written = "";
  const log = createLogger({ level: "debug", format }, "test", {
    mask: createMask(config),
    write: (line) => {
      written += line;
    },
  });
  const url = config.postgres.url ?? "";
  log.error({ err: new Error(`connect to ${url} failed, password ${PASSWORD}`) }, `cannot use ${url}`);
  log.info(
    { headers: { authorization: "Key hunter2-of-somebody" }, key_secret: "hunter2" },
    "s3-secret-hunter2",
  );
  log.warn(
    { given: `Key 00000000-0000-4000-8000-00000000000b:${"hunter2".repeat(3)}` },
    "old-pepper-hunter2, new-pepper-hunter2",
  );
  log.warn({ keys: config.temporal.payloadKeys, admin: config.keys.admin }, "keys");
  log.info(
    {
      one: Buffer.alloc(32, "hunter2").toString("base64"),
      two: Buffer.alloc(32, "hunter3").toString("base64"),
    },
    "parts",
  );
  expect(written).not.toMatch(/hunter|aHVudGVy/);
  expect(written).toContain("00000000-0000-4000-8000-00000000000b:***");
  expect(written.trim().split("\n").length).toBeGreaterThanOrEqual(5);
});

it("survives a password of digits that occurs in a time, and masks a password in a query", () => {
  let written = "";
  const mask = createMask(
    loadConfig({ DATABASE_URL: "postgres://tempera@db/tempera?password=hunter2-in-the-query" }),
  );
  const log = createLogger({ level: "debug", format: "text" }, "test", {
    // Every time contains such a number.
    mask: (line) => mask(line).replaceAll(/[0-9]{6}/g, "***"),
    write: (line) => {
      written += line;
    },
  });
  log.info({ given: "123456" }, "opened with hunter2-in-the-query");
  expect(written).toMatch(/opened with \*\*\* given=\*\*\*\n$/);
});
