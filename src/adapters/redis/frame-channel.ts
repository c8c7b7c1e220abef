import { parseJson, writeJson } from "../../core/json/exact-json.ts";
import type { ServiceTls } from "../../core/operations/service-tls.ts";
import type { Frame, ToGateway, ToWorker } from "../../core/requests/session.ts";
import type { ChannelEnd, FrameChannel } from "../../core/requests/sessions.ts";
import { connectRedis } from "./connection.ts";
import { createSubscriptions } from "./subscriptions.ts";

export interface RedisFrameChannelOptions {
  /** `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS. */
  url: string;
  /** Certificates, where Redis speaks TLS. */
  tls?: ServiceTls | undefined;
  /** Begins every channel. @default "tempera:" */
  prefix?: string;
  /** Longest wait for one reply of Redis, in milliseconds. @default 2000 */
  answerMs?: number;
  /** Receives a sentence when Redis cannot be reached, and when it is back. */
  log?: (message: string) => void;
}

/**
 * Creates the frame channel on Redis: one pub/sub channel for each direction of a session, on connections of
 * its own, so that large frames do not delay the event log. Messages under way are lost when Redis goes away;
 * when it is back, the two ends are connected again.
 */
export function createRedisFrameChannel({
  url,
  tls,
  prefix = "tempera:",
  answerMs = 2_000,
  log,
}: RedisFrameChannelOptions): FrameChannel {
  const { client, answer } = connectRedis({ url, tls, answerMs, log });
  const subscriptions = createSubscriptions({ url, tls, answerMs });

  async function open<In extends Message, Out extends Message>(
    from: string,
    to: string,
    listener: (message: In) => void,
  ): Promise<ChannelEnd<Out>> {
    const leave = await subscriptions.subscribeBytes(prefix + from, (bytes) => {
      const message = decodeMessage(bytes);
      if (message) listener(message as In);
    });
    return {
      send: async (message) => void (await answer(client.publish(prefix + to, encodeMessage(message)))),
      close: leave,
    };
  }

  return {
    openGateway: (id, listener) =>
      open<ToGateway, ToWorker>(`frames:${id}:gateway`, `frames:${id}:worker`, listener),
    openWorker: (id, listener) =>
      open<ToWorker, ToGateway>(`frames:${id}:worker`, `frames:${id}:gateway`, listener),
    async close() {
      subscriptions.close();
      client.disconnect();
    },
  };
}

type Message = ToGateway | ToWorker;

/** Encodes a message: the length of the head in four bytes, the head as JSON, and the payload of a frame. */
export function encodeMessage(message: Message): Buffer {
  const frame = "frame" in message ? message.frame : undefined;
  const { payload, ...rest }: Partial<Frame> = frame ?? {};
  const head = Buffer.from(writeJson(frame ? { ...message, frame: rest } : message));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(head.length);
  return Buffer.concat([length, head, ...(payload ? [payload] : [])]);
}

/** Returns `undefined` for bytes that are no message: another program may publish on the channel. */
export function decodeMessage(bytes: Buffer): Message | undefined {
  if (bytes.length < 4) return undefined;
  const end = 4 + bytes.readUInt32BE(0);
  if (end > bytes.length) return undefined;
  try {
    const message = parseJson<Message>(bytes.toString("utf8", 4, end));
    if ("frame" in message) message.frame.payload = bytes.subarray(end);
    return message;
  } catch {
    return undefined;
  }
}
