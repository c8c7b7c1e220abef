/**
 * A checkpoint is the state of an unfinished run after some step, for the job's next attempt. Only the engine
 * can read it. A job has one at most: the newest, under a key that its next attempt knows without being told.
 * It goes when the job ends.
 */
export const checkpointKey = (requestId: string): string => `checkpoints/${requestId}`;
