import type { TemperaError } from "../../core/errors/tempera-error.ts";
import { connectRedis, type RedisConnectionOptions } from "./connection.ts";

export interface Listener {
  message?(text: string): void;
  /** The message as it came; for channels that carry bytes. */
  bytes?(bytes: Buffer): void;
  /**
   * The connection went away, and messages with it. A listener that has this is forgotten then; one without
   * is subscribed again when Redis is back, and has missed what came between.
   */
  lost?(error: TemperaError): void;
}

export interface Subscriptions {
  /** Resolves when every later message of the channel will reach the listener; with how to stop. */
  subscribe(channel: string, listener: Listener): Promise<() => Promise<void>>;
  /** The same for a channel of bytes. Such a listener is subscribed again when Redis is back. */
  subscribeBytes(channel: string, listener: (bytes: Buffer) => void): Promise<() => Promise<void>>;
  close(): void;
}

/** How often an otherwise silent connection is asked whether it still is one. */
const PING_MS = 5_000;

/** All subscriptions of a process over one connection: a channel is subscribed while it has a listener. */
export function createSubscriptions(options: RedisConnectionOptions): Subscriptions {
  const { client, answer, unavailable } = connectRedis(options);
  const channels = new Map<string, { listeners: Set<Listener>; subscribed: Promise<unknown> }>();

  const subscribeTo = (channel: string): Promise<unknown> => {
    const subscribed = answer(client.subscribe(channel));
    subscribed.catch(() => {}); // each listener awaits it and is told there
    return subscribed;
  };

  client.on("messageBuffer", (name: Buffer, bytes: Buffer) => {
    let text: string | undefined;
    for (const listener of channels.get(name.toString())?.listeners ?? []) {
      if (listener.bytes) listener.bytes(bytes);
      else {
        text ??= bytes.toString();
        listener.message?.(text);
      }
    }
  });
  client.on("close", () => {
    for (const [channel, { listeners }] of channels) {
      for (const listener of listeners) {
        if (!listener.lost) continue;
        listeners.delete(listener);
        listener.lost(unavailable("went away"));
      }
      if (listeners.size === 0) channels.delete(channel);
    }
  });
  client.on("ready", () => {
    for (const [channel, entry] of channels) entry.subscribed = subscribeTo(channel);
  });
  const ping = setInterval(() => {
    if (channels.size > 0 && client.status === "ready")
      answer(client.ping()).catch(() => client.disconnect(true));
  }, PING_MS);
  ping.unref();

  const leave = async (channel: string, listener: Listener): Promise<void> => {
    const entry = channels.get(channel);
    if (!entry?.listeners.delete(listener) || entry.listeners.size > 0) return;
    channels.delete(channel);
    // Should it fail, the connection is gone and so is its subscription.
    await answer(client.unsubscribe(channel)).catch(() => {});
  };

  const subscribe = async (channel: string, listener: Listener): Promise<() => Promise<void>> => {
    let entry = channels.get(channel);
    if (!entry) {
      entry = { listeners: new Set(), subscribed: subscribeTo(channel) };
      channels.set(channel, entry);
    }
    entry.listeners.add(listener);
    try {
      await entry.subscribed;
    } catch (error) {
      await leave(channel, listener);
      throw error;
    }
    return () => leave(channel, listener);
  };

  return {
    subscribe,
    subscribeBytes: (channel, bytes) => subscribe(channel, { bytes }),
    close() {
      clearInterval(ping);
      client.disconnect();
    },
  };
}
