/** A part of an owner's limit that one request uses up, from its acceptance until the stores have it. */
export interface Reservation {
  /**
   * Notes that the stores have it: the next count of them includes it, and the reservation ends with that.
   */
  markRecorded(): void;
  /** Gives it back: what it was made for did not come about. */
  release(): void;
}

/** All reservations of one request, which end together. */
export class Reservations implements Reservation {
  readonly #reservations: Reservation[] = [];

  /** Adds one; `undefined` is what a limit that is not set gives. */
  add(reservation: Reservation | undefined): void {
    if (reservation) this.#reservations.push(reservation);
  }

  markRecorded(): void {
    for (const reservation of this.#reservations) reservation.markRecorded();
  }

  release(): void {
    for (const reservation of this.#reservations) reservation.release();
  }
}
