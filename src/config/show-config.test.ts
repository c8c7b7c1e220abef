import { expect, it } from "vitest";
import { showConfig } from "./show-config.ts";

it("shows every value with its source, and masks secrets", () => {
  const shown = showConfig(
    {
      TEMPERA_CONFIG: "",
      DATABASE_URL: "postgres://tempera:hunter2@db/tempera?sslpassword=hunter3",
      S3_SECRET_KEY: "hunter2hunter2",
      TEMPERA_GRACE_SECONDS: "7",
    },
    ["server.port=9000"],
  );
  const of = (name: string) => shown.find(({ setting }) => setting === name);
  expect(of("server.port")).toMatchObject({ value: 9000, source: "--set", variable: "TEMPERA_PORT" });
  expect(of("worker.graceSeconds")).toMatchObject({ value: 7, unit: "s", source: "TEMPERA_GRACE_SECONDS" });
  expect(of("log.level")).toMatchObject({ value: "info", source: "default" });
  expect(of("postgres.url")).toMatchObject({
    value: "postgres://tempera:***@db/tempera",
    source: "DATABASE_URL",
  });
  expect(of("objects.secretKey")).toMatchObject({ value: "***" });
  expect(of("keys.admin")).toMatchObject({ value: null, source: "default" });
  expect(JSON.stringify(shown)).not.toContain("hunter");
});
