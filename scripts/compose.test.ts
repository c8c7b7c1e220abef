import { access, readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { SEARCH_ATTRIBUTES } from "../src/adapters/temporal/search-attributes.ts";
import { SETTINGS } from "../src/config/settings.ts";

const PROJECT = resolve(import.meta.dirname, "..");

interface ComposeService {
  image: string;
  ports?: string[];
  volumes?: string[];
  environment?: Record<string, string>;
  entrypoint?: string[];
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test: string[] };
}

const read = (file: string) => readFile(resolve(PROJECT, file), "utf8");
const text = await read("docker-compose.yml");
const compose = parse(text) as { services: Record<string, ComposeService>; volumes: Record<string, null> };
const service = (name: string): ComposeService => compose.services[name] ?? { image: "" };
const mounts = Object.values(compose.services).flatMap(({ volumes = [] }) =>
  volumes.map((volume) => volume.split(":")),
);

describe("docker-compose.yml", () => {
  test("pins every image to a version", () => {
    for (const { image } of Object.values(compose.services))
      expect(image).toMatch(/^[\w./-]+:(\d+\.\d+(\.\d+)?|RELEASE\.\S+)$/);
  });

  test("publishes the ports of the embedded services, on this machine only", () => {
    const published = (name: string) => service(name).ports?.[0];
    expect(published("postgres")).toBe(`127.0.0.1:${SETTINGS.postgres.port.default}:5432`);
    expect(published("temporal")).toBe(`127.0.0.1:${SETTINGS.temporal.port.default}:7233`);
    expect(published("temporal-ui")).toBe(`127.0.0.1:${SETTINGS.temporal.uiPort.default}:8080`);
    for (const { ports = [] } of Object.values(compose.services))
      for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  test("mounts files that exist and volumes that it declares", async () => {
    for (const [source = ""] of mounts) {
      if (source.startsWith("./")) await access(resolve(PROJECT, source));
      else expect(Object.keys(compose.volumes)).toContain(source);
    }
  });

  test("runs scripts that it mounts, and gives Temporal the production configuration", async () => {
    const targets = mounts.map(([, target]) => target);
    for (const { entrypoint = [] } of Object.values(compose.services)) {
      for (const word of entrypoint.filter((part) => part.endsWith(".sh"))) expect(targets).toContain(word);
    }
    const configured = service("temporal").environment?.DYNAMIC_CONFIG_FILE_PATH ?? "";
    const [source, target = ""] = mounts.find(([from]) => from === "./temporal/dynamic-config") ?? [];
    expect(configured.startsWith(`${target}/`)).toBe(true);
    await access(resolve(PROJECT, source ?? "", configured.slice(target.length + 1)));
  });

  test("waits for services that have a health check, and for jobs to end", () => {
    for (const { depends_on: needs = {} } of Object.values(compose.services)) {
      for (const [name, { condition }] of Object.entries(needs)) {
        expect(compose.services).toHaveProperty([name]);
        expect(condition).toBe(
          service(name).healthcheck ? "service_healthy" : "service_completed_successfully",
        );
      }
    }
  });

  test("asks Temporal for a workflow, which only a server that can use its database answers", () => {
    const [kind, command] = service("temporal").healthcheck?.test ?? [];
    expect(kind).toBe("CMD-SHELL");
    // The port of its HTTP API is open before the server can serve; 503 is the answer until then.
    expect(command).toContain("http://127.0.0.1:7243/api/v1/namespaces/temporal-system/workflows/");
    expect(command).toMatch(/\| grep -q 'HTTP\/1\.1 404'$/);
  });

  test("documents the variables that point the platform at it, with the passwords it sets", () => {
    const { environment: database = {} } = service("postgres");
    const { environment: objects = {} } = service("minio");
    expect(text).toContain(
      `DATABASE_URL=postgres://${database.POSTGRES_USER}:${database.POSTGRES_PASSWORD}@` +
        `127.0.0.1:${SETTINGS.postgres.port.default}/${database.POSTGRES_DB}`,
    );
    expect(text).toContain(
      `S3_ACCESS_KEY=${objects.MINIO_ROOT_USER} S3_SECRET_KEY=${objects.MINIO_ROOT_PASSWORD}`,
    );
  });

  test("creates the namespace and the search attributes that jobs use", async () => {
    const script = await read("infra/compose/setup-temporal-namespace.sh");
    expect(script).toContain(`namespace=${SETTINGS.temporal.namespace.default}\n`);
    expect(/for attribute in (.*);/.exec(script)?.[1]?.split(" ").sort()).toEqual(
      [...SEARCH_ATTRIBUTES].sort(),
    );
  });

  test("creates the role and the databases that Temporal is configured with", async () => {
    const sql = await read("infra/compose/create-temporal-databases.sql");
    const { environment = {} } = service("temporal");
    expect(sql).toContain(
      `create role ${environment.POSTGRES_USER} login password '${environment.POSTGRES_PWD}';`,
    );
    expect(service("temporal-schema").environment).toMatchObject({
      SQL_USER: environment.POSTGRES_USER,
      SQL_PASSWORD: environment.POSTGRES_PWD,
      SQL_HOST: environment.POSTGRES_SEEDS,
    });
  });
});

describe("Temporal's dynamic configurations", () => {
  const keysOf = async (name: string) =>
    Object.keys(parse(await read(`temporal/dynamic-config/${name}.yaml`)) as object);

  test("set in production every key that development sets", async () => {
    const production = await keysOf("production");
    for (const key of await keysOf("development")) expect(production).toContain(key);
  });
});
