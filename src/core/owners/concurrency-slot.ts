/**
 * A place is the right to run: an owner with the limit `inProgress` has so many. Jobs that find none wait in
 * line, in their own workflows, and are told by this signal when their turn has come.
 */
export const SLOT_GRANTED_SIGNAL = "placeGranted";
