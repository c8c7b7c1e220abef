"""What an engine may raise. The codes are those of the error catalogue, docs/errors.md."""

from dataclasses import dataclass, field
from typing import Any


class EngineError(Exception):
    """
    Ends a run with a code of the catalogue and a sentence that the caller reads: no paths, no secrets.

    Any other exception ends it with `runner_server_error`, with its own text.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Fault:
    """One fault of an input, as fal's 422 lists them: `Fault(["num_frames"], "Input should be …", "less_than_equal", {"le": 161})`."""

    loc: list[str | int]
    """The way to the value inside the input, without `body`. Empty: the input as a whole."""
    msg: str
    type: str
    """fal's or pydantic's name: `missing`, `int_type`, `image_load_error`, `feature_not_supported`, …"""
    ctx: dict[str, Any] = field(default_factory=dict)


class InputInvalid(EngineError):
    """The input does not fit this model: a 422 with these faults, of which there is at least one."""

    def __init__(self, faults: list[Fault], message: str = "The input does not fit this model.") -> None:
        super().__init__("input_invalid", message)
        self.faults = faults


class RunCancelled(BaseException):
    """
    Nobody waits for the run any more. Raised inside it by everything that `Run` offers, so an engine seldom needs to know.

    No `Exception`, so that an engine's own `except Exception` does not swallow it.
    """
