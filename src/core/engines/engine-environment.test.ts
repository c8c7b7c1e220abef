import { describe, expect, it } from "vitest";
import { parseEngineEnvironment } from "./engine-environment.ts";

describe("the variables that engines get", () => {
  it("are names with commas between them, each once", () => {
    expect(parseEngineEnvironment("PYTORCH_ALLOC_CONF, NCCL_DEBUG,NCCL_DEBUG")).toEqual([
      "PYTORCH_ALLOC_CONF",
      "NCCL_DEBUG",
    ]);
  });

  it.each(["", "A=b", "NCCL_*", "A,,B"])("are refused when one is no name: %j", (value) => {
    expect(() => parseEngineEnvironment(value)).toThrow("must be names of variables");
  });

  it.each([
    "TEMPERA_KEY_PEPPER",
    "DATABASE_URL",
    "REDIS_URL",
    "S3_SECRET_KEY",
    "AWS_ACCESS_KEY_ID",
    "HF_TOKEN",
    "PGPASSWORD",
  ])("never carry a secret: %s", (name) => {
    expect(() => parseEngineEnvironment(`OMP_NUM_THREADS,${name}`)).toThrow(`must not name ${name}`);
  });
});
