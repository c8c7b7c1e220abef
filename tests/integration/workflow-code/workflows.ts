import { defineQuery, proxySinks, type Sinks, setHandler, sleep } from "@temporalio/workflow";
import { useShared } from "./shared-state.ts";

let calls = 0;

/** Counts in a variable beside it, and in one of a module that all workflows have in common. */
export async function counts(): Promise<{ own: number; shared: number }> {
  setHandler(defineQuery("asked"), () => "answered");
  calls++;
  return { own: calls, shared: useShared() };
}

/** Turns a loop that holds the thread for seconds. It does end, so that no test leaves a thread behind. */
export async function spins(): Promise<number> {
  let sum = 0;
  for (let i = 0; i < 1e9; i++) sum = (sum + i) % 7;
  return sum;
}

/** Leaves a promise behind that is rejected. */
export async function forgets(): Promise<void> {
  void Promise.reject(new Error("left behind"));
  await new Promise(() => {});
}

interface News extends Sinks {
  news: { tell(what: string): void };
}

/** Tells of itself in each of its steps, and at the end of the last. */
export async function tells(): Promise<void> {
  const { news } = proxySinks<News>();
  news.tell("begun");
  await sleep(1);
  news.tell("waited");
  await Promise.resolve();
  news.tell("done");
}
