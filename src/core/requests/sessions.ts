import type { SessionSpec, ToGateway, ToWorker } from "./session.ts";

/** The sessions, as Temporal has them. */
export interface Sessions {
  /** Resolves when Temporal has accepted the session. Rejects with `temporal_unavailable`. */
  start(session: SessionSpec): Promise<void>;
  /**
   * Ends a session, waiting or running; one that has ended or is unknown is left as it is. Rejects with
   * `temporal_unavailable`.
   */
  cancel(sessionId: string): Promise<void>;
}

/**
 * One end of a session's way. `send` keeps the order; it rejects with `store_unavailable` when the message
 * cannot be on its way.
 */
export interface ChannelEnd<Out> {
  send(message: Out): Promise<void>;
  close(): Promise<void>;
}

/**
 * The way that frames take between a gateway and a GPU worker, beside Temporal. Nothing is kept: who is not
 * there when a message is sent has missed it. Both ends repeat what matters (`pulse`, `here`), so a loss of
 * messages is survived.
 *
 * Opening resolves when every later message of the other end will reach `listener`; rejects with
 * `store_unavailable`.
 */
export interface FrameChannel {
  openGateway(sessionId: string, listener: (message: ToGateway) => void): Promise<ChannelEnd<ToWorker>>;
  openWorker(sessionId: string, listener: (message: ToWorker) => void): Promise<ChannelEnd<ToGateway>>;
  close(): Promise<void>;
}
