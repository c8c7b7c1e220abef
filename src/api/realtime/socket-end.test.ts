import { expect, it, vi } from "vitest";
import { shedBacklog } from "./socket-end.ts";

it("past their bound, the sockets with the most unread outputs are cut, and no more of them than needed", () => {
  const sockets = [10, 0, 50, 30, 5].map((bufferedAmount) => ({ bufferedAmount, terminate: vi.fn() }));
  const cut = () => sockets.filter(({ terminate }) => terminate.mock.calls.length > 0).map(({ bufferedAmount }) => bufferedAmount);
  shedBacklog(sockets, 95);
  expect(cut()).toEqual([]);
  shedBacklog(sockets, 44);
  expect(cut()).toEqual([50, 30]);
});
