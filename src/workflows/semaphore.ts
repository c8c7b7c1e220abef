/** Lets so many pass at once; the others wait in the order in which they came. */
export function createTurns(atOnce: number): { take(): Promise<void>; give(): void } {
  let free = atOnce;
  const waiting: (() => void)[] = [];
  return {
    async take() {
      if (free > 0) free--;
      else await new Promise<void>((pass) => waiting.push(pass));
    },
    give() {
      const next = waiting.shift();
      if (next) next();
      else free++;
    },
  };
}
