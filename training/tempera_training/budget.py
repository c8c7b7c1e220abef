"""How long a stage has trained: its own processor time, so that waiting for a busy or stopped machine does not count."""

import time


class Budget:
    """Seconds of processor time spent by a stage, over all its runs. Exact with one thread; threads add up."""

    def __init__(self, minutes: float, spent: float = 0.0) -> None:
        self.total, self.spent, self._last = minutes * 60, spent, time.process_time()

    def tick(self) -> float:
        """Adds what went by since the last call; returns the share of the budget that is used, 0..1."""
        now = time.process_time()
        self.spent, self._last = self.spent + now - self._last, now
        return min(1.0, self.spent / self.total)

    def skip(self) -> None:
        """Leaves out what went by since the last call (saving, compiling)."""
        self._last = time.process_time()


def warm_stable_decay(step: int, share: float, warm_up: int = 60, decay_from: float = 0.55) -> float:
    """Factor of the learning rate: warm-up, constant, then straight down to a hundredth.

    Unlike a cosine it does not know the budget before the decay starts, so the budget may be changed on the way.
    """
    down = 1.0 if share < decay_from else 0.01 + 0.99 * (1 - share) / (1 - decay_from)
    return min(1.0, (step + 1) / warm_up) * down
