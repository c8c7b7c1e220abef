import { setImmediate as yieldToEventLoop } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { type Denoising, StepBatcher, type StepItem } from "./step-batcher.ts";

const SIGMAS = Float32Array.of(1, 0.5, 0.25, 0);
const never = new AbortController().signal;

/** A network that records each pass by the conditions of its items, which are names. */
function network(velocity: (item: StepItem<string>) => number = ({ sigma }) => 4 * sigma) {
  const passes: string[] = [];
  const predict = async (items: readonly StepItem<string>[]) => {
    passes.push(items.map(({ condition, sigma }) => `${condition}@${sigma}`).join(" "));
    return items.map((item) => item.latents.map(() => velocity(item)));
  };
  return { passes, predict };
}

const denoising = (condition: string, more: Partial<Denoising<string>> = {}): Denoising<string> => ({
  shapeKey: "one",
  latents: Float32Array.of(2),
  sigmas: SIGMAS,
  condition,
  onStep: () => {},
  signal: never,
  ...more,
});

describe("one denoising", () => {
  it("integrates the velocity over all levels and counts the steps", async () => {
    const { passes, predict } = network();
    const latents = Float32Array.of(2);
    const steps: number[][] = [];
    await new StepBatcher({ predict, itemsMax: 8 }).denoise(
      denoising("a", {
        latents,
        onStep: (done, velocity, sigma) => void steps.push([done, velocity[0] ?? 0, sigma]),
      }),
    );
    expect(passes).toEqual(["a@1", "a@0.5", "a@0.25"]);
    expect(steps).toEqual([
      [1, 4, 0.5],
      [2, 2, 0.25],
      [3, 1, 0],
    ]);
    expect(latents[0]).toBe(2 - 0.5 * 4 - 0.25 * 2 - 0.25 * 1);
  });

  it("continues after the steps that are done, and does nothing when all are", async () => {
    const { passes, predict } = network();
    const batcher = new StepBatcher({ predict, itemsMax: 8 });
    await batcher.denoise(denoising("a", { from: 2 }));
    await batcher.denoise(denoising("b", { from: 3 }));
    expect(passes).toEqual(["a@0.25"]);
    expect(batcher.inFlight).toBe(0);
  });

  it("stops between two steps, also when the network never leaves the event loop idle", async () => {
    const { passes, predict } = network();
    const controller = new AbortController();
    void yieldToEventLoop().then(() => controller.abort(new Error("enough")));
    const endless = new Float32Array(100_000).fill(1);
    await expect(
      new StepBatcher({ predict, itemsMax: 8 }).denoise(
        denoising("a", { sigmas: endless, signal: controller.signal }),
      ),
    ).rejects.toThrow("enough");
    expect(passes.length).toBeLessThan(10);
  });

  it("does not begin when the signal is already aborted", async () => {
    const { passes, predict } = network();
    const signal = AbortSignal.abort(new Error("before"));
    await expect(
      new StepBatcher({ predict, itemsMax: 8 }).denoise(denoising("a", { signal })),
    ).rejects.toThrow("before");
    expect(passes).toEqual([]);
  });
});

describe("several of one shape", () => {
  it("share each step, and join and leave between steps, whatever step each is at", async () => {
    const { passes, predict } = network();
    const batcher = new StepBatcher({ predict, itemsMax: 8 });
    let late: Promise<void> | undefined;
    const first = batcher.denoise(
      denoising("a", {
        onStep: (done) => {
          if (done === 1) late = batcher.denoise(denoising("late"));
        },
      }),
    );
    await Promise.all([first, batcher.denoise(denoising("b"))]);
    await late;
    expect(passes.map((pass) => pass.split(" ").sort().join(" "))).toEqual([
      "a@1 b@1",
      "a@0.5 b@0.5 late@1",
      "a@0.25 b@0.25 late@0.5",
      "late@0.25",
    ]);
  });

  it("give exactly the result of each alone", async () => {
    const velocity = ({ latents, sigma, condition }: StepItem<string>) =>
      (latents[0] ?? 0) * sigma + condition.length;
    const names = ["a", "bb", "ccc"];
    const denoiseAll = async (together: boolean) => {
      const batcher = new StepBatcher({ predict: network(velocity).predict, itemsMax: 2 });
      const all = names.map((name) => denoising(name, { latents: Float32Array.of(name.length) }));
      if (together) await Promise.all(all.map((one) => batcher.denoise(one)));
      else for (const one of all) await batcher.denoise(one);
      return all.map(({ latents }) => latents[0]);
    };
    expect(await denoiseAll(true)).toEqual(await denoiseAll(false));
  });

  it("never exceed the limit of a pass, and alternate", async () => {
    const { passes, predict } = network();
    const batcher = new StepBatcher({ predict, itemsMax: 2 });
    await Promise.all(["a", "b", "c"].map((name) => batcher.denoise(denoising(name))));
    expect(passes).toEqual(["a@1 b@1", "c@1 a@0.5", "b@0.5 c@0.5", "a@0.25 b@0.25", "c@0.25"]);
  });

  it("continue while the step callback of one is pending", async () => {
    const { passes, predict } = network();
    const batcher = new StepBatcher({ predict, itemsMax: 8 });
    let finishCallback = () => {};
    const pending = new Promise<void>((resolve) => {
      finishCallback = resolve;
    });
    const watched = batcher.denoise(
      denoising("watched", { onStep: (done) => (done === 1 ? pending : undefined) }),
    );
    await batcher.denoise(denoising("b"));
    expect(passes).toEqual(["watched@1 b@1", "b@0.5", "b@0.25"]);
    finishCallback();
    await watched;
    expect(passes.slice(3)).toEqual(["watched@0.5", "watched@0.25"]);
  });
});

describe("several shapes", () => {
  it("alternate, however many denoisings one shape has", async () => {
    const { passes, predict } = network();
    const batcher = new StepBatcher({ predict, itemsMax: 2 });
    const crowd = ["a", "b", "c", "d"].map((name) => batcher.denoise(denoising(name)));
    await Promise.all([...crowd, batcher.denoise(denoising("rare", { shapeKey: "two" }))]);
    const passesOfRare = passes.flatMap((pass, i) => (pass.includes("rare") ? [i] : []));
    expect(passesOfRare).toEqual([1, 3, 5]);
  });
});

describe("a fault", () => {
  const others = async (
    predict: (items: readonly StepItem<string>[]) => Promise<Float32Array[]>,
    more: Partial<Denoising<string>> = {},
  ) => {
    const batcher = new StepBatcher({ predict, itemsMax: 8 });
    const good = [denoising("good"), denoising("fine")];
    const ends = Promise.all(good.map((one) => batcher.denoise(one)));
    const fault = await batcher.denoise(denoising("bad", more)).catch((error: unknown) => error);
    await ends;
    expect(good.map(({ latents }) => latents[0])).toEqual([-0.75, -0.75]);
    expect(batcher.inFlight).toBe(0);
    return fault;
  };

  it("of the network on one item fails that item alone", async () => {
    const { predict } = network();
    const fault = await others(async (items) => {
      if (items.some(({ condition, sigma }) => condition === "bad" && sigma === 0.5))
        throw new Error("no such kernel");
      return predict(items);
    });
    expect(fault).toMatchObject({ message: "no such kernel" });
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])(
    "in form of a velocity of %f fails that item alone, and names the step",
    async (value) => {
      const { predict } = network(({ condition, sigma }) =>
        condition === "bad" && sigma === 0.25 ? value : 4 * sigma,
      );
      expect(await others(predict)).toMatchObject({
        code: "runner_server_error",
        message: expect.stringContaining("not finite in step 3 of 3"),
      });
    },
  );

  it("in form of a velocity of another size, or none, fails that item alone", async () => {
    const { predict } = network();
    const resize = async (items: readonly StepItem<string>[]) =>
      (await predict(items)).map((velocity, i) =>
        items[i]?.condition === "bad" ? new Float32Array(5) : velocity,
      );
    expect(await others(resize)).toMatchObject({
      code: "runner_server_error",
      message: expect.stringContaining("5 numbers for 1 latents"),
    });
    const drop = async (items: readonly StepItem<string>[]) =>
      (await predict(items)).filter((_, i) => items[i]?.condition !== "bad");
    expect(await others(drop)).toMatchObject({ code: "runner_server_error" });
  });

  it("of a step callback fails that denoising alone", async () => {
    const fail = (): void => {
      throw new Error("callback failed");
    };
    expect(await others(network().predict, { onStep: fail })).toMatchObject({ message: "callback failed" });
    expect(await others(network().predict, { onStep: async () => fail() })).toMatchObject({
      message: "callback failed",
    });
  });

  it("by an abort in a shared step ends that denoising alone", async () => {
    const { predict } = network();
    const controller = new AbortController();
    const fault = await others(
      async (items) => {
        if (items.some(({ sigma }) => sigma === 0.5)) controller.abort(new Error("gone"));
        return predict(items);
      },
      { signal: controller.signal },
    );
    expect(fault).toMatchObject({ message: "gone" });
  });

  it("of a pass that does not fit in memory splits it, and later passes are smaller", async () => {
    const { passes, predict } = network();
    const batcher = new StepBatcher<string>({
      itemsMax: 8,
      predict: async (items) => {
        if (items.length > 2) throw new Error("Failed to allocate memory");
        return predict(items);
      },
    });
    const all = ["a", "b", "c", "d"].map((name) => denoising(name));
    await Promise.all(all.map((one) => batcher.denoise(one)));
    expect(all.map(({ latents }) => latents[0])).toEqual([-0.75, -0.75, -0.75, -0.75]);
    expect(passes.slice(0, 6)).toEqual(["a@1", "b@1", "c@1", "d@1", "a@0.5 b@0.5", "c@0.5 d@0.5"]);
  });
});

describe("other work", () => {
  /** Blocks the thread, as a network does. */
  const busy = (ms: number): void => {
    const untilMs = performance.now() + ms;
    while (performance.now() < untilMs);
  };

  it("is done between steps: a piece of 60 ms, then a pass, then the next piece", async () => {
    const { passes, predict } = network();
    const batcher = new StepBatcher({ predict, itemsMax: 8 });
    const walking = batcher.denoise(denoising("a"));
    const piece = async (name: string) => {
      passes.push(name);
      busy(60);
    };
    await Promise.all([walking, ...["piece 1", "piece 2"].map((name) => batcher.between(() => piece(name)))]);
    expect(passes).toEqual(["piece 1", "a@1", "piece 2", "a@0.5", "a@0.25"]);
  });

  it("in quick pieces is done before the next pass, so that runs that need it begin together", async () => {
    const { passes, predict } = network();
    const batcher = new StepBatcher({ predict, itemsMax: 8 });
    const names = ["a", "b", "c"];
    await Promise.all(
      names.map((name) => batcher.between(async () => {}).then(() => batcher.denoise(denoising(name)))),
    );
    expect(passes).toEqual(["a@1 b@1 c@1", "a@0.5 b@0.5 c@0.5", "a@0.25 b@0.25 c@0.25"]);
  });

  it("lets the event loop run between two pieces", async () => {
    const batcher = new StepBatcher({ predict: network().predict, itemsMax: 8 });
    const order: string[] = [];
    const first = batcher.between(async () => void setImmediate(() => order.push("event")));
    await Promise.all([first, batcher.between(async () => void order.push("piece 2"))]);
    expect(order).toEqual(["event", "piece 2"]);
  });

  it("settles with its result or its error", async () => {
    const batcher = new StepBatcher({ predict: network().predict, itemsMax: 8 });
    expect(await batcher.between(async () => 5)).toBe(5);
    await expect(batcher.between(async () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await batcher.whenIdle(async () => 6)).toBe(6);
  });

  it("for idle moments waits until nothing else does", async () => {
    const { passes, predict } = network();
    const batcher = new StepBatcher({ predict, itemsMax: 8 });
    const idle = batcher.whenIdle(async () => void passes.push("idle"));
    await batcher.denoise(denoising("a"));
    await idle;
    expect(passes).toEqual(["a@1", "a@0.5", "a@0.25", "idle"]);
  });
});
