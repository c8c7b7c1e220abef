"""
Runs inputs at load, so that no caller pays for the choice and the compilation of kernels, which happen once
for each size.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from tempera_engine import InputFile, InputInvalid, Run
from tempera_engine.checkpoint import CheckpointOwner

from .fields import UNKNOWN_FIELD

log = logging.getLogger("tempera_diffusers")

IMAGE = "attachment:0"
"""Stands for a square image in the inputs that are run."""

DEFAULTS = {"prompt": "a red circle", "num_inference_steps": 2}
"""Two steps are enough for both experts of Wan 2.2."""


def warm_up(
    run: Callable[[Run], Any],
    inputs: Sequence[Mapping[str, Any]],
    image_fields: Mapping[str, Any] | None = None,
) -> None:
    """
    Runs each input as a request and drops its results. Raises a `ValueError` for an input that a request
    could not have.

    :param image_fields: what inputs have when they leave it out, with `IMAGE` for a square image
    """
    with TemporaryDirectory(prefix="tempera-warm-up-") as folder:
        path = Path(folder) / "grey.png"
        Image.new("RGB", (512, 512), "grey").save(path)
        files = [InputFile(path, "image/png", path.stat().st_size, "")] if image_fields else []
        for index, given in enumerate(inputs):
            input_value = {**DEFAULTS, **(image_fields or {}), **given}
            began = time.monotonic()
            try:
                run(_silent_run(input_value, files))
            except InputInvalid as invalid:
                faults = [f"{'.'.join(map(str, fault.loc))}: {fault.msg}" for fault in invalid.faults]
                raise ValueError(f"warmUp[{index}] of model.yaml is refused: {'; '.join(faults)}") from None
            except _UnknownField as message:
                raise ValueError(f"warmUp[{index}] of model.yaml is refused: {message}") from None
            log.info("Warmed up with %s in %.1f s", dict(given), time.monotonic() - began)


class _UnknownField(Exception):
    """An input has a field that no runner reads."""


def _silent_run(input_value: dict[str, Any], files: list[InputFile]) -> Run:
    def emit(event: Any) -> None:
        if event.WhichOneof("event") == "log" and event.log.message.endswith(UNKNOWN_FIELD):
            raise _UnknownField(event.log.message)

    return Run(
        request_id="warm-up",
        attempt=1,
        input_value=input_value,
        files=files,
        previews=False,
        owner=CheckpointOwner("", "", ""),
        policy=None,
        checkpoint=None,
        emit=emit,
    )
