"""The training time of a stage: its processor time, so that waits for a busy machine do not count."""

import time


class Budget:
    """Seconds of processor time spent by a stage, over all its runs.

    Exact with one thread; threads add up.
    """

    def __init__(self, minutes: float, spent: float = 0.0) -> None:
        self.total, self.spent, self._last = minutes * 60, spent, time.process_time()

    def tick(self) -> float:
        """Adds the time since the last call; returns the used share of the budget, 0..1."""
        now = time.process_time()
        self.spent, self._last = self.spent + now - self._last, now
        return min(1.0, self.spent / self.total)

    def skip(self) -> None:
        """Leaves out the time since the last call (saving, compiling)."""
        self._last = time.process_time()


def warm_stable_decay(step: int, share: float, warm_up: int = 60, decay_from: float = 0.55) -> float:
    """Gives the factor of the learning rate: warm-up, constant, then a linear decay to a hundredth.

    Unlike a cosine schedule it does not need the budget before the decay starts, so the budget may change
    during the run.
    """
    down = 1.0 if share < decay_from else 0.01 + 0.99 * (1 - share) / (1 - decay_from)
    return min(1.0, (step + 1) / warm_up) * down
