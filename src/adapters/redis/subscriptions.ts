import type { TemperaError } from "../../core/errors/tempera-error.ts";
import { connectRedis, type RedisConnection, type RedisConnectionOptions } from "./connection.ts";

export interface Listener {
  message?(text: string): void;
  /** Receives the message as bytes, in place of `message`. */
  bytes?(bytes: Buffer): void;
  /**
   * Called when the connection was lost, and messages with it. A listener that has this is removed then. One
   * without it is subscribed again when Redis is back, and has missed the messages in between.
   */
  lost?(error: TemperaError): void;
}

export interface Subscriptions {
  /** Resolves when every later message of the channel will reach the listener. Returns how to unsubscribe. */
  subscribe(channel: string, listener: Listener): Promise<() => Promise<void>>;
  /** The same for a channel of bytes. Such a listener is subscribed again when Redis is back. */
  subscribeBytes(channel: string, listener: (bytes: Buffer) => void): Promise<() => Promise<void>>;
  close(): void;
}

/** Interval of the pings on a connection that may be silent, in milliseconds. */
const PING_MS = 5_000;

/**
 * Opens one connection for all subscriptions of a process. A channel is subscribed while it has a listener.
 */
export function createSubscriptions(options: RedisConnectionOptions): Subscriptions {
  return new RedisSubscriptions(connectRedis(options));
}

class RedisSubscriptions implements Subscriptions {
  readonly #redis: RedisConnection;
  readonly #channels = new Map<string, { listeners: Set<Listener>; subscribed: Promise<unknown> }>();
  readonly #ping: NodeJS.Timeout;

  constructor(redis: RedisConnection) {
    this.#redis = redis;
    const { client } = redis;
    client.on("messageBuffer", (name: Buffer, bytes: Buffer) => this.#deliver(name.toString(), bytes));
    client.on("close", () => this.#dropListeners());
    client.on("ready", () => {
      for (const [channel, entry] of this.#channels) entry.subscribed = this.#subscribeTo(channel);
    });
    this.#ping = setInterval(() => {
      if (this.#channels.size > 0 && client.status === "ready")
        redis.answer(client.ping()).catch(() => client.disconnect(true));
    }, PING_MS);
    this.#ping.unref();
  }

  async subscribe(channel: string, listener: Listener): Promise<() => Promise<void>> {
    let entry = this.#channels.get(channel);
    if (!entry) {
      entry = { listeners: new Set(), subscribed: this.#subscribeTo(channel) };
      this.#channels.set(channel, entry);
    }
    entry.listeners.add(listener);
    try {
      await entry.subscribed;
    } catch (error) {
      await this.#unsubscribe(channel, listener);
      throw error;
    }
    return () => this.#unsubscribe(channel, listener);
  }

  subscribeBytes(channel: string, bytes: (bytes: Buffer) => void): Promise<() => Promise<void>> {
    return this.subscribe(channel, { bytes });
  }

  close(): void {
    clearInterval(this.#ping);
    this.#redis.client.disconnect();
  }

  #subscribeTo(channel: string): Promise<unknown> {
    const subscribed = this.#redis.answer(this.#redis.client.subscribe(channel));
    subscribed.catch(() => {}); // reported to each listener, which awaits it
    return subscribed;
  }

  async #unsubscribe(channel: string, listener: Listener): Promise<void> {
    const entry = this.#channels.get(channel);
    if (!entry?.listeners.delete(listener) || entry.listeners.size > 0) return;
    this.#channels.delete(channel);
    // When it fails, the connection is lost and its subscription with it.
    await this.#redis.answer(this.#redis.client.unsubscribe(channel)).catch(() => {});
  }

  #deliver(channel: string, bytes: Buffer): void {
    let text: string | undefined;
    for (const listener of this.#channels.get(channel)?.listeners ?? []) {
      if (listener.bytes) listener.bytes(bytes);
      else {
        text ??= bytes.toString();
        listener.message?.(text);
      }
    }
  }

  #dropListeners(): void {
    for (const [channel, { listeners }] of this.#channels) {
      for (const listener of listeners) {
        if (!listener.lost) continue;
        listeners.delete(listener);
        listener.lost(this.#redis.unavailable("went away"));
      }
      if (listeners.size === 0) this.#channels.delete(channel);
    }
  }
}
