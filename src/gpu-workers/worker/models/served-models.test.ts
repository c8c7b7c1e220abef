import { describe, expect, it } from "vitest";
import { TemperaError } from "../../../core/errors/tempera-error.ts";
import type { ModelVersion } from "../../../core/models/model.ts";
import type { VersionState } from "../../../core/models/published-version.ts";
import { ServedModels, type WantedVersion } from "./served-models.ts";

const version = (name: string, state: VersionState = "enabled"): WantedVersion => ({
  endpoint: "acme/echo",
  version: name,
  digest: `digest-${name}`,
  state,
  changedAtMs: 0,
  model: { endpoint: "acme/echo", version: name, folder: "" } as ModelVersion,
  files: [],
});

/** Starts a worker's served models, whose surroundings are controlled by the test. */
function stage(initial: WantedVersion[], { fits = true }: { fits?: boolean } = {}) {
  let wanted = initial;
  const did: string[] = [];
  const needed = new Set<string>();
  const reports = new Map<string, string>();
  let checks = 0;
  let storeAway = false;
  let hold: Promise<void> | undefined;
  const served = ServedModels.start({
    wanted: () => wanted,
    weights: {
      ensure: async (digest, _, signal) => {
        did.push(`fetch ${digest}`);
        await hold;
        signal.throwIfAborted();
        if (storeAway) throw new TemperaError("store_unavailable", "The object store is away.");
        return `/cache/${digest}`;
      },
      drop: async (digest) => void did.push(`delete ${digest}`),
    },
    begin: (model) => {
      if (!fits) throw new TemperaError("runner_scheduling_failure", "too large");
      did.push(`begin ${model.version} in ${model.folder}`);
    },
    end: async ({ version: name }) => void did.push(`end ${name}`),
    inUse: async ({ version: name }) => {
      checks++;
      return needed.has(name);
    },
    report: ({ version: name }, absence) =>
      absence ? reports.set(name, `${absence.state}: ${absence.reason}`) : reports.delete(name),
    log: () => {},
    lingerMs: 30,
    lookMs: 5,
    retryMs: 5,
  });
  return {
    did,
    needed,
    reports,
    served,
    get checks() {
      return checks;
    },
    set storeAway(isAway: boolean) {
      storeAway = isAway;
    },
    /** Delays weights until the returned function is called. */
    holdWeights(): () => void {
      let release = (): void => {};
      hold = new Promise((resolve) => {
        release = resolve;
      });
      return release;
    },
    want(...next: WantedVersion[]) {
      wanted = next;
      served.refresh();
    },
    [Symbol.asyncDispose]: () => served[Symbol.asyncDispose](),
  };
}

describe("an enabled version", () => {
  it("is served once its weights are here, with their folder", async () => {
    await using worker = stage([version("1.0.0")]);
    await expect.poll(() => worker.did).toEqual(["fetch digest-1.0.0", "begin 1.0.0 in /cache/digest-1.0.0"]);
    expect(worker.served.find("acme/echo", "1.0.0")?.folder).toBe("/cache/digest-1.0.0");
    worker.want(version("1.0.0"));
    expect(worker.did).toHaveLength(2);
  });

  it("is reported and tried again when its weights cannot be fetched", async () => {
    await using worker = stage([]);
    worker.storeAway = true;
    worker.want(version("1.0.0"));
    await expect.poll(() => worker.did.length).toBeGreaterThan(3);
    expect(worker.reports.get("1.0.0")).toMatch(/The object store is away|being fetched/);
    worker.storeAway = false;
    await expect.poll(() => worker.did.at(-1)).toBe("begin 1.0.0 in /cache/digest-1.0.0");
    expect(worker.reports.size).toBe(0);
  });

  it("is reported and not tried again when it is larger than the worker", async () => {
    await using worker = stage([version("1.0.0")], { fits: false });
    await expect.poll(() => worker.reports.get("1.0.0")).toBe("unhealthy: too large");
    worker.want(version("1.0.0"));
    expect(worker.did).toEqual(["fetch digest-1.0.0"]);
    expect(worker.served.find("acme/echo", "1.0.0")).toBeUndefined();
  });
});

describe("a version that is disabled", () => {
  it("is served while a job needs it, then dropped; its weights stay for the next time", async () => {
    await using worker = stage([version("1.0.0")]);
    await expect.poll(() => worker.did).toHaveLength(2);
    worker.needed.add("1.0.0");
    worker.want(version("1.0.0", "disabled"));
    await expect.poll(() => worker.checks).toBeGreaterThan(3);
    expect(worker.did).toHaveLength(2);
    expect(worker.served.find("acme/echo", "1.0.0")).toBeDefined();
    worker.needed.clear();
    await expect.poll(() => worker.did.at(-1)).toBe("end 1.0.0");
    worker.want(version("1.0.0"));
    await expect
      .poll(() => worker.did.slice(3))
      .toEqual(["fetch digest-1.0.0", "begin 1.0.0 in /cache/digest-1.0.0"]);
  });

  it("is not checked before gateways must have learned of it", async () => {
    await using worker = stage([version("1.0.0")]);
    await expect.poll(() => worker.did).toHaveLength(2);
    const sinceMs = Date.now();
    worker.want(version("1.0.0", "disabled"));
    await expect.poll(() => worker.checks, { interval: 1 }).toBe(1);
    expect(Date.now() - sinceMs).toBeGreaterThanOrEqual(29);
  });

  it("is served on when it is enabled again before it was dropped", async () => {
    await using worker = stage([version("1.0.0")]);
    await expect.poll(() => worker.did).toHaveLength(2);
    worker.want(version("1.0.0", "disabled"));
    worker.want(version("1.0.0"), version("1.1.0"));
    await expect.poll(() => worker.did).toContain("begin 1.1.0 in /cache/digest-1.1.0");
    worker.want(version("1.0.0"), version("1.1.0", "disabled"));
    await expect.poll(() => worker.did.at(-1)).toBe("end 1.1.0");
    expect(worker.did).not.toContain("end 1.0.0");
  });

  it("is dropped after its weights have arrived, when they were on their way", async () => {
    await using worker = stage([]);
    const release = worker.holdWeights();
    worker.want(version("1.0.0"));
    worker.want(version("1.0.0", "disabled"));
    release();
    await expect.poll(() => worker.did.at(-1)).toBe("end 1.0.0");
  });

  it("loses its weights when it is removed", async () => {
    await using worker = stage([version("1.0.0")]);
    await expect.poll(() => worker.did).toHaveLength(2);
    worker.want(version("1.0.0", "removed"));
    await expect.poll(() => worker.did.slice(2)).toEqual(["end 1.0.0", "delete digest-1.0.0"]);
  });
});

describe("a worker that starts", () => {
  it("serves a version that was disabled before, as long as a job needs it", async () => {
    await using worker = stage([]);
    worker.needed.add("1.0.0");
    worker.want(version("1.0.0", "disabled"), version("0.9.0", "disabled"));
    await expect.poll(() => worker.did).toEqual(["fetch digest-1.0.0", "begin 1.0.0 in /cache/digest-1.0.0"]);
    worker.needed.clear();
    await expect.poll(() => worker.did.at(-1)).toBe("end 1.0.0");
  });

  it("deletes the weights of a version that was removed before", async () => {
    await using worker = stage([version("0.9.0", "removed")]);
    await expect.poll(() => worker.did).toEqual(["delete digest-0.9.0"]);
  });
});
