"""Exceptions that an engine may raise. Their codes are those of the error catalogue, docs/errors.md."""

from dataclasses import dataclass, field
from typing import Any


class EngineError(Exception):
    """
    Ends a run with a code of the catalogue and a sentence for the caller, without paths and secrets.

    Any other exception ends the run with `runner_server_error` and the text of the exception.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class DeviceFault(EngineError):
    """
    Ends a run because the device faulted in a way that this process does not recover from. The GPU worker
    ends the process, and the request is tried again on another one.
    """

    def __init__(self, message: str, *, of_device: bool = False) -> None:
        """
        :param of_device: no input can be the cause (its memory or a link failed, or it was dead before the
            run began), so that the request is not blamed for the end of the process
        """
        super().__init__("runner_device_fault", message)
        self.of_device = of_device


@dataclass(frozen=True)
class Fault:
    """
    One fault of an input, as fal's 422 lists them:
    `Fault(["num_frames"], "Input should be …", "less_than_equal", {"le": 161})`.
    """

    loc: list[str | int]
    """Path to the value inside the input, without `body`. Empty for the input as a whole."""
    msg: str
    type: str
    """Type of fal or pydantic: `missing`, `int_type`, `image_load_error`, `feature_not_supported`, …"""
    ctx: dict[str, Any] = field(default_factory=dict)


class InputInvalid(EngineError):
    """
    The input does not fit this model. The caller gets a 422 with these faults; there must be at least one.
    """

    def __init__(self, faults: list[Fault], message: str = "The input does not fit this model.") -> None:
        super().__init__("input_invalid", message)
        self.faults = faults


class RunCancelled(BaseException):
    """
    Nobody waits for the run any more. Every method of `Run` raises it, so an engine seldom handles it.

    It is not an `Exception`, so that an engine's own `except Exception` does not swallow it.
    """
