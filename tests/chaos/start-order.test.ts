/** Roles that start before the services that they need, in any order. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type Cluster, prepareCluster, ROLES, type RoleName, type RoleProcess, SERVICES } from "./cluster.ts";

const STUB = "tempera/stub";
type Service = (typeof SERVICES)[number];
const TITLES: Record<Service, string> = {
  temporal: "Temporal",
  postgres: "PostgreSQL",
  redis: "Redis",
  objects: "the object store",
};

let cluster: Cluster;
let roles: Map<RoleName, RoleProcess>;
const running = new Set<Service>();
beforeAll(async () => {
  cluster = await prepareCluster(STUB, {}, { usesS3: true });
});
afterAll(() => cluster[Symbol.asyncDispose]());
afterEach(async () => {
  await Promise.all([...roles.values()].map(({ child }) => cluster.end(child, "SIGKILL")));
});

const shuffled = <T>(all: readonly T[]): T[] =>
  all
    .map((each) => ({ each, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ each }) => each);

async function restart(service: Service): Promise<void> {
  await cluster.restart(service);
  running.add(service);
}

/** Starts the services that do not run. */
async function startAll(): Promise<void> {
  await Promise.all(SERVICES.filter((each) => !running.has(each)).map(restart));
}

/** Starts all roles at once, in a random order. */
function launchAll(): void {
  roles = new Map(shuffled(ROLES).map((role) => [role, cluster.launch(role)]));
}

const outputOf = (role: RoleName): string => roles.get(role)?.output() ?? "";
const logs = (role: RoleName, text: string | RegExp) => expect.poll(() => outputOf(role)).toMatch(text);

interface Answer {
  status: number;
  retryAfter: string | null;
  body: string;
}
async function call(url: string, init: RequestInit = {}): Promise<Answer | undefined> {
  const answer = await fetch(url, { ...init, headers: { authorization: `Key ${cluster.key}` } }).catch(
    () => undefined,
  );
  return (
    answer && {
      status: answer.status,
      retryAfter: answer.headers.get("retry-after"),
      body: await answer.text(),
    }
  );
}
const submit = () => call(`${cluster.url}/queue/${STUB}`, { method: "POST", body: '{"prompt":"x"}' });

/** Asserts that every role runs, and says what it waits for. */
async function assertWaiting(away: readonly Service[]): Promise<void> {
  for (const role of ROLES) {
    for (const service of away) await logs(role, `${role} waits for ${TITLES[service]}: `);
    expect(roles.get(role)?.child.exitCode, outputOf(role)).toBeNull();
    expect(outputOf(role)).not.toContain("is ready");
  }
  for (const url of [cluster.url, cluster.adminUrl])
    await expect.poll(async () => (await call(`${url}/health/live`))?.status).toBe(200);
}

/** Asserts what the gateway and the admin service answer while a service is away. */
async function assertAnswers(away: readonly Service[]): Promise<void> {
  if (away.includes("postgres")) {
    for (const answer of [await submit(), await call(`${cluster.adminUrl}/v1/keys`)]) {
      expect(answer).toMatchObject({ status: 503, retryAfter: "2" });
      expect(answer?.body).toContain("PostgreSQL");
    }
    expect((await call(`${cluster.url}/health/ready`))?.status).toBe(503);
    return;
  }
  expect((await call(`${cluster.adminUrl}/v1/keys`))?.status).toBe(200);
  if (!away.includes("temporal")) return;
  const refused = await submit();
  expect(refused).toMatchObject({ status: 503, retryAfter: "2" });
  // A call that was sent, and had no answer within its deadline, would be in doubt.
  expect(refused?.body).toContain("nothing was queued");
}

async function assertJobRuns(): Promise<void> {
  for (const role of ROLES) await logs(role, `${role} is ready`);
  const { request_id: requestId } = await cluster.client.submit(STUB, { seed: 7, artifact_bytes: 2_000 });
  for await (const { status } of cluster.client.follow(STUB, requestId)) if (status === "COMPLETED") break;
  const { file } = (await cluster.client.result(STUB, requestId)) as { file: { url: string } };
  const path = new URL(file.url).pathname;
  expect((await call(`${cluster.url}${path}`))?.status).toBe(200);
}

describe("roles that start before their services", () => {
  it("wait for all of them, and join each when it comes", async () => {
    for (const service of running) await cluster.kill(service);
    running.clear();
    launchAll();
    await assertWaiting(SERVICES);
    await assertAnswers(SERVICES);
    for (const service of shuffled(SERVICES)) {
      await restart(service);
      for (const role of ROLES) await logs(role, `${role} has joined ${TITLES[service]}`);
    }
    await assertJobRuns();
  });

  it.each(SERVICES)("wait for %s alone, and serve what they can", async (service) => {
    await startAll();
    await cluster.kill(service);
    running.delete(service);
    launchAll();
    await assertWaiting([service]);
    await assertAnswers([service]);
    await restart(service);
    await assertJobRuns();
    for (const role of ROLES) {
      const lines = outputOf(role).split("\n");
      expect(lines.filter((line) => line.includes(`waits for ${TITLES[service]}:`)).length).toBeLessThan(4);
    }
  });

  it("wait for a configuration that a service refuses, report it once, and end at SIGTERM", async () => {
    await startAll();
    const url = new URL(cluster.databaseUrl);
    url.username = "nobody";
    const DATABASE_URL = url.href;
    roles = new Map(ROLES.map((role) => [role, cluster.launch(role, { DATABASE_URL })]));
    await assertWaiting(["postgres"]);
    for (const role of ROLES) {
      await logs(role, /authentication failed for user \W+nobody.*correct DATABASE_URL/);
      expect(await cluster.end(cluster.child(role), "SIGTERM")).toBe(0);
    }
  });

  it("still end at once for a configuration that is invalid in itself", async () => {
    roles = new Map(ROLES.map((role) => [role, cluster.launch(role, { DATABASE_URL: "no address" })]));
    for (const role of ROLES) {
      await expect.poll(() => cluster.child(role).exitCode).toBe(1);
      expect(outputOf(role)).toContain("DATABASE_URL");
    }
  });
});
