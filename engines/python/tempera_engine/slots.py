"""Slots bound the number of simultaneous runs; further runs wait in the order of their arrival."""

import asyncio


class Slots:
    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self.running = 0
        self.waiting = 0

    async def acquire(self) -> None:
        """
        Returns when the caller has a slot, which it must release once. May be cancelled while it waits.
        """
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        self.running += 1

    def release(self) -> None:
        self.running -= 1
        self._free.release()
