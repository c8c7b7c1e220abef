/** The order in which nodes can run, and what stands in its way. */

/**
 * Nodes in an order in which each comes after those it waits for, or the circles that there are, each as a
 * way around it.
 */
export function nodeOrder(
  waitsFor: ReadonlyMap<string, ReadonlySet<string>>,
): { order: string[] } | { cycles: string[][] } {
  const order: string[] = [];
  const left = new Map([...waitsFor].map(([id, depends]) => [id, depends.size]));
  const followers = new Map<string, string[]>();
  for (const [id, depends] of waitsFor)
    for (const each of depends) followers.set(each, [...(followers.get(each) ?? []), id]);
  const ready = [...left].flatMap(([id, count]) => (count === 0 ? [id] : []));
  // `ready` grows while it is walked.
  for (const id of ready) {
    order.push(id);
    left.delete(id);
    for (const follower of followers.get(id) ?? []) {
      const count = (left.get(follower) ?? 0) - 1;
      left.set(follower, count);
      if (count === 0) ready.push(follower);
    }
  }
  return left.size === 0 ? { order } : { cycles: cyclesAmong(new Set(left.keys()), waitsFor) };
}

/** @param stuck every one of them waits for another of them */
function cyclesAmong(stuck: Set<string>, waitsFor: ReadonlyMap<string, ReadonlySet<string>>): string[][] {
  const cycles: string[][] = [];
  for (const start of stuck) {
    const way: string[] = [];
    const places = new Map<string, number>();
    for (let at: string | undefined = start; at !== undefined && stuck.has(at); at = next(at)) {
      const before = places.get(at);
      if (before !== undefined) {
        cycles.push(way.slice(before));
        break;
      }
      places.set(at, way.push(at) - 1);
    }
    // What led into a circle, or into one that is named already, is no circle of its own.
    for (const id of way) stuck.delete(id);
  }
  return cycles;

  function next(id: string): string | undefined {
    for (const each of waitsFor.get(id) ?? []) if (stuck.has(each)) return each;
    return undefined;
  }
}
