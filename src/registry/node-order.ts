/** The order in which the nodes of a graph can run. */

/**
 * Sorts nodes so that each comes after those it waits for, or finds the cycles, each as the list of its
 * nodes.
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

/** @param stuck nodes of which each waits for another of them */
function cyclesAmong(stuck: Set<string>, waitsFor: ReadonlyMap<string, ReadonlySet<string>>): string[][] {
  const cycles: string[][] = [];
  for (const start of stuck) {
    const path: string[] = [];
    const positions = new Map<string, number>();
    for (let at: string | undefined = start; at !== undefined && stuck.has(at); at = next(at)) {
      const before = positions.get(at);
      if (before !== undefined) {
        cycles.push(path.slice(before));
        break;
      }
      positions.set(at, path.push(at) - 1);
    }
    // A path into a cycle is not a cycle of its own.
    for (const id of path) stuck.delete(id);
  }
  return cycles;

  function next(id: string): string | undefined {
    for (const each of waitsFor.get(id) ?? []) if (stuck.has(each)) return each;
    return undefined;
  }
}
