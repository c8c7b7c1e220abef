"""
The smallest engine that does everything: it draws a gradient, line by line, and writes it as a BMP file.

    python3 examples/gradient_engine.py /tmp/engine.sock

`delay_ms` makes it slow, so that it can be cancelled, watched and resumed.
"""

import random
import struct
import time
from typing import Any

from tempera_engine import Capabilities, Engine, Fault, File, InputInvalid, Model, Progress, Run, serve

SIDE_MAX = 512


class GradientEngine(Engine):
    def describe(self) -> Capabilities:
        return Capabilities(
            runners=["gradient"], artifact_types=["image/bmp"], max_batch=4, supports_checkpoint=True
        )

    def load(self, model: Model, progress: Progress) -> None:
        tint = model.parameters.get("tint", [1.0, 0.6, 0.2])
        if len(tint) != 3:
            raise ValueError(
                f"parameters.tint of model.yaml: {tint} should be three numbers for red, green and blue."
            )
        self.tint = [float(part) for part in tint]
        progress(1, "the tint")

    def run(self, run: Run) -> dict[str, Any]:
        side = integer(run, "side", 64, 1, SIDE_MAX)
        delay_ms = integer(run, "delay_ms", 0, 0, 600_000)
        seed = integer(run, "seed", 0, 0, 2**32 - 1)
        # The state of a run is the lines so far. The noise of a line depends only on the seed and the line.
        lines: list[bytes] = (
            run.resume(lambda _, state: [state[at : at + side * 3] for at in range(0, len(state), side * 3)])
            or []
        )
        while len(lines) < side:
            lines.append(self.line(len(lines), side, seed))
            wait(run, delay_ms / side / 1000)
            step = len(lines)
            run.progress(step, side)
            run.preview(step, lambda: ("image/bmp", bmp(lines[:64], side)) if side <= 64 else None)
            run.checkpoint(step, lambda: b"".join(lines))
        file = File("image/bmp", f"gradient-{seed}.bmp", width=side, height=side)
        return {
            "image": {**run.artifact(file, bmp(lines, side)), "width": side, "height": side},
            "seed": seed,
        }

    def line(self, y: int, side: int, seed: int) -> bytes:
        noise = random.Random(seed * SIDE_MAX + y)
        bright = [min(255, (255 * (x + y)) // (2 * side) + noise.randrange(8)) for x in range(side)]
        return bytes(int(part * b) for b in bright for part in reversed(self.tint))


def integer(run: Run, field: str, default: int, low: int, high: int) -> int:
    value = run.input.get(field, default)
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    raise InputInvalid([Fault([field], f"Input should be an integer from {low} to {high}", "int_type")])


def wait(run: Run, seconds: float) -> None:
    """Sleeps in pieces, so that a cancel is seen."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.05))
        run.check()


def bmp(lines: list[bytes], side: int) -> bytes:
    """Encodes 24 bits a pixel, the last line first, each line padded to four bytes."""
    padding = b"\0" * (-side * 3 % 4)
    pixels = b"".join(line + padding for line in reversed(lines))
    head = struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54)
    return (
        head
        + struct.pack("<IiiHHIIiiII", 40, side, len(lines), 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
        + pixels
    )


if __name__ == "__main__":
    serve(GradientEngine())
