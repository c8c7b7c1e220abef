import type { SessionSpec, ToGateway, ToWorker } from "./session.ts";

/** Starts and cancels sessions in Temporal. */
export interface Sessions {
  /** Starts a session; resolves when Temporal has accepted it. Rejects with `temporal_unavailable`. */
  start(session: SessionSpec): Promise<void>;
  /**
   * Cancels a waiting or running session. An ended or unknown one is left as it is. Rejects with
   * `temporal_unavailable`.
   */
  cancel(sessionId: string): Promise<void>;
}

/**
 * One end of a session's channel. `send` keeps the order of messages, and rejects with `store_unavailable`
 * when a message cannot be sent.
 */
export interface ChannelEnd<Out> {
  send(message: Out): Promise<void>;
  close(): Promise<void>;
}

/**
 * The channel of a session carries frames between a gateway and a GPU worker. Messages are not stored: an
 * end that is not open misses them. Both ends repeat the important ones (`pulse`, `here`), so a session
 * survives a loss.
 *
 * Opening resolves when every later message of the other end will reach `listener`. It rejects with
 * `store_unavailable`.
 */
export interface FrameChannel {
  openGateway(sessionId: string, listener: (message: ToGateway) => void): Promise<ChannelEnd<ToWorker>>;
  openWorker(sessionId: string, listener: (message: ToWorker) => void): Promise<ChannelEnd<ToGateway>>;
  close(): Promise<void>;
}
