/**
 * The body of a call that is being counted: whichever of reading and counting refuses first is the answer.
 * Does not wait for the count, which whoever goes on from here still has to.
 */
export const bodyOfCall = <T>(body: Promise<T>, allowed: Promise<void>): Promise<T> =>
  Promise.race([body, allowed.then(() => body)]);
