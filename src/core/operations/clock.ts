export interface Clock {
  nowMs(): number;
}

/** The time of day: for what is stored and shown. It jumps when somebody sets it. */
export const systemClock: Clock = { nowMs: () => Date.now() };

/**
 * Time since the process began: for ages and waits, which no change of the time of day makes longer or
 * shorter.
 */
export const steadyClock: Clock = { nowMs: () => performance.now() };
