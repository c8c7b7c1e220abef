"""The project's engine around a pipeline that is in memory already, and what is measured through it."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from judged import Judged, judge
from tempera_diffusers import pipeline_folder
from tempera_diffusers.cancel_points import add_cancel_points
from tempera_diffusers.engine import DiffusersEngine
from tempera_diffusers.pipeline_folder import LoadedFolder
from tempera_engine import Model

from .report import Report, milliseconds
from .settings import Settings


def engine_around(pipeline: Any, runner: str, settings: Settings) -> DiffusersEngine:
    """Loads an engine as a worker does, but for the weights, which are there."""
    add_cancel_points(pipeline)
    loaded = LoadedFolder(pipeline, type(pipeline).__name__, settings.device, "gpu_prove")
    parameters = {"device": settings.device_name, "resolutions": settings.resolutions}
    engine = DiffusersEngine()
    with patch.object(pipeline_folder, "load_pipeline", lambda *_, **__: loaded):
        engine.load(Model("acme/proved", "1.0.0", runner, Path(), parameters), lambda *_: None)
    return engine


def measure_cancel(
    report: Report, engine: DiffusersEngine, asked: Mapping[str, Any], *, after_step: int, delay: float
) -> None:
    """
    Measures how long a cancelled run takes to end, and until the device has worked off what it was told.

    :param delay: seconds after that step at which the run is cancelled
    """
    cancelled_at = [0.0]

    def cancel(run: Any) -> None:
        time.sleep(delay)
        cancelled_at[0] = time.perf_counter()
        run._cancel()

    def on_event(run: Any, event: Any) -> None:
        if event.WhichOneof("event") == "progress" and event.progress.step == after_step:
            threading.Thread(target=cancel, args=(run,)).start()

    judged: Judged = judge(engine, dict(asked), on_event=on_event)
    ended = time.perf_counter()
    report.wait()
    idle = time.perf_counter()
    report.say(
        "cancel",
        cancelled=judged.cancelled,
        endedMs=milliseconds(ended - cancelled_at[0]),
        deviceIdleMs=milliseconds(idle - cancelled_at[0]),
    )
