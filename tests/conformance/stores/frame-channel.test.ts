/** One suite for all frame channels: in memory and over Redis. */
import { randomBytes, randomUUID } from "node:crypto";
import { describe, expect, it } from "vitest";
import { createMemoryFrameChannel } from "../../../src/adapters/memory/frame-channel.ts";
import {
  createRedisFrameChannel,
  decodeMessage,
  encodeMessage,
} from "../../../src/adapters/redis/frame-channel.ts";
import type { ToGateway, ToWorker } from "../../../src/core/requests/session.ts";
import type { FrameChannel } from "../../../src/core/requests/sessions.ts";
import { leakCheck } from "../../setup/leak-check.ts";

leakCheck();

/** Collects messages; `take` awaits the next ones. */
function inbox<T>() {
  const messages: T[] = [];
  let wake = () => {};
  return {
    hear: (message: T) => {
      messages.push(message);
      wake();
    },
    async take(count: number): Promise<T[]> {
      while (messages.length < count) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return messages.splice(0, count);
    },
  };
}

const channels: Record<string, () => { gateway: FrameChannel; worker: FrameChannel }> = {
  memory: () => {
    const one = createMemoryFrameChannel();
    return { gateway: one, worker: one };
  },
  redis: () => {
    const options = { url: process.env.TEST_REDIS_URL ?? "", prefix: `test-${randomUUID()}:` };
    return { gateway: createRedisFrameChannel(options), worker: createRedisFrameChannel(options) };
  },
};

describe.each(Object.keys(channels))("frame channel: %s", (name) => {
  const using = async (work: (ends: { gateway: FrameChannel; worker: FrameChannel }) => Promise<void>) => {
    const ends = (channels[name] as (typeof channels)[string])();
    try {
      await work(ends);
    } finally {
      await ends.gateway.close();
      await ends.worker.close();
    }
  };

  it("carries messages both ways, complete and in order", () =>
    using(async ({ gateway, worker }) => {
      const [toWorker, toGateway] = [inbox<ToWorker>(), inbox<ToGateway>()];
      const one = await gateway.openGateway("s", toGateway.hear);
      const two = await worker.openWorker("s", toWorker.hear);
      const frames = Array.from({ length: 50 }, (_, i) => ({
        sequence: i + 1,
        payload: randomBytes(i * 997),
        ...(i % 2 && { text: true }),
      }));
      const inputs: ToWorker[] = frames.map((frame) => ({ type: "input", attempt: 1, frame }));
      await Promise.all(inputs.map((message) => one.send(message)));
      for (const [i, message] of (await toWorker.take(50)).entries()) {
        expect(message).toMatchObject({ type: "input", attempt: 1, frame: { sequence: i + 1 } });
        const { payload } = (message as Extract<ToWorker, { type: "input" }>).frame;
        expect(Buffer.from(payload).equals(frames[i]?.payload as Buffer)).toBe(true);
      }
      const answers: ToGateway[] = [
        { type: "pulse", attempt: 1, worker: "w", settledThrough: 3 },
        { type: "settled", attempt: 1, sequence: 4, error: { code: "input_invalid", message: "é" } },
        { type: "ended", attempt: 1, error: { code: "runner_disconnected", message: "gone" }, final: false },
      ];
      for (const answer of answers) await two.send(answer);
      expect(await toGateway.take(3)).toEqual(answers);
    }));

  it("separates sessions, and the two directions", () =>
    using(async ({ gateway, worker }) => {
      const [a, b, own] = [inbox<ToWorker>(), inbox<ToWorker>(), inbox<ToGateway>()];
      const end = await gateway.openGateway("a", own.hear);
      await worker.openWorker("a", a.hear);
      const other = await gateway.openGateway("b", () => {});
      await worker.openWorker("b", b.hear);
      await end.send({ type: "here" });
      await other.send({ type: "end" });
      expect(await a.take(1)).toEqual([{ type: "here" }]);
      expect(await b.take(1)).toEqual([{ type: "end" }]);
      let heardOwn = false;
      void own.take(1).then(() => {
        heardOwn = true;
      });
      await end.send({ type: "here" });
      await a.take(1);
      expect(heardOwn).toBe(false);
    }));

  it("drops messages without a receiver silently, and delivers none after a close", () =>
    using(async ({ gateway, worker }) => {
      const end = await gateway.openGateway("s", () => {});
      await end.send({ type: "here" });
      const first = inbox<ToWorker>();
      const closed = await worker.openWorker("s", first.hear);
      await end.send({ type: "here" });
      await first.take(1);
      await closed.close();
      let heard = 0;
      const second = inbox<ToWorker>();
      const again = await worker.openWorker("s", (message) => {
        heard++;
        second.hear(message);
      });
      await end.send({ type: "end" });
      expect(await second.take(1)).toEqual([{ type: "end" }]);
      expect(heard).toBe(1);
      await again.close();
    }));

  it("rejects with store_unavailable once closed", () =>
    using(async ({ gateway }) => {
      const end = await gateway.openGateway("s", () => {});
      await gateway.close();
      await expect(end.send({ type: "here" })).rejects.toMatchObject({ code: "store_unavailable" });
      await expect(gateway.openGateway("t", () => {})).rejects.toMatchObject({ code: "store_unavailable" });
    }));
});

describe("messages over Redis", () => {
  it.each([
    Buffer.alloc(0),
    Buffer.from([0, 0, 0]),
    Buffer.from([0, 0, 0, 9, 1]),
    Buffer.from([0, 0, 0, 1, 0x7b]),
  ])("%j is no message", (bytes) => expect(decodeMessage(bytes)).toBeUndefined());

  it("keeps an empty payload", () => {
    const message: ToWorker = {
      type: "input",
      attempt: 1,
      frame: { sequence: 1, payload: new Uint8Array(0) },
    };
    expect(decodeMessage(encodeMessage(message))).toMatchObject({ frame: { payload: Buffer.alloc(0) } });
  });
});
