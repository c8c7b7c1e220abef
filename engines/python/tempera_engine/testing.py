"""Runs a predictor in a test as the server does, but without the protocol."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .checkpoint import CheckpointOwner
from .engine import Model
from .files import InputFile
from .predictor import Predictor, PredictorEngine
from .run import Run


@dataclass
class Prediction:
    output: dict[str, Any] = field(default_factory=dict)
    """The output as the caller gets it; `{"$artifact": n}` stands for the n-th of `files`."""
    files: list[bytes] = field(default_factory=list)
    progress: list[tuple[int, int]] = field(default_factory=list)
    """Steps that were reported, each with the number of all steps."""
    log: list[str] = field(default_factory=list)


def set_up(predictor: Predictor, folder: Path, parameters: Mapping[str, Any] | None = None) -> None:
    """Loads a model version from a folder, with the `parameters` of its manifest."""
    model = Model("test/model", "1.0.0", predictor.runner, folder, parameters or {})
    predictor.setup(model, lambda *_: None)


def predict(predictor: Predictor, input_value: dict[str, Any], *files: Path) -> Prediction:
    """
    Runs one input. "attachment:0" in it stands for the first of `files`. Raises what `predict` raises, and
    `InputInvalid` for an input that does not fit.
    """
    result = Prediction()

    def emit(event: Any) -> None:
        match event.WhichOneof("event"):
            case "artifact":
                result.files.append(b"")
            case "chunk":
                result.files[-1] += event.chunk.data
            case "progress":
                result.progress.append((event.progress.step, event.progress.steps))
            case "log":
                result.log.append(event.log.message)

    run = Run(
        request_id="test",
        attempt=1,
        input_value=input_value,
        files=[_input_file(path) for path in files],
        previews=False,
        owner=CheckpointOwner("test/model 1.0.0", "", "1"),
        policy=None,
        checkpoint=None,
        emit=emit,
    )
    result.output = PredictorEngine(predictor).run(run)
    return result


def _input_file(path: Path) -> InputFile:
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return InputFile(path, "application/octet-stream", len(data), digest)
