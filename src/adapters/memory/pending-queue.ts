/**
 * One task queue's waiting requests in order: priority first, then time of queueing. Positions are found by
 * bisection.
 */
export interface WaitingLine {
  /** A request that waits already keeps its place. */
  enter(requestId: string, rank: number): void;
  leave(requestId: string): void;
  /** How many are ahead; 0 for one that does not wait. */
  position(requestId: string): number;
  length(): number;
}

interface Place {
  rank: number;
  ticket: number;
  requestId: string;
}

export function createWaitingLine(): WaitingLine {
  const line: Place[] = [];
  const places = new Map<string, Place>();
  let tickets = 0;

  /** How many places are before this one. */
  const countBefore = ({ rank, ticket }: Place): number => {
    let low = 0;
    let high = line.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = line[middle] as Place;
      if (at.rank < rank || (at.rank === rank && at.ticket < ticket)) low = middle + 1;
      else high = middle;
    }
    return low;
  };

  return {
    enter(requestId, rank) {
      if (places.has(requestId)) return;
      const place = { rank, ticket: ++tickets, requestId };
      places.set(requestId, place);
      line.splice(countBefore(place), 0, place);
    },
    leave(requestId) {
      const place = places.get(requestId);
      if (!place) return;
      places.delete(requestId);
      line.splice(countBefore(place), 1);
    },
    position(requestId) {
      const place = places.get(requestId);
      return place ? countBefore(place) : 0;
    },
    length: () => line.length,
  };
}
