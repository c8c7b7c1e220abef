"""Reads the fields of an input and collects their faults, so that the caller learns all of them at once."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tempera_engine import Fault, InputInvalid, Run

PLATFORM_FIELDS = ("sync_mode",)
"""Fields of public schemas that the platform itself acts on."""

UNKNOWN_FIELD = "is a field that this engine does not read; it has no effect."

def no_effect(*names: str) -> str:
    """Says that fields have no effect, as a part of a sentence: "`shift` has no effect"."""
    listed = [f"`{name}`" for name in names]
    if len(listed) == 1:
        return f"{listed[0]} has no effect"
    return f"{', '.join(listed[:-1])} and {listed[-1]} have no effect"


def tell_of_cut(run: Run, name: str, tokens: int, tokens_max: int) -> None:
    """Tells the caller when a prompt is longer than what the model reads of it."""
    if tokens > tokens_max:
        message = f"This model reads {tokens_max} tokens of `{name}`, which is longer: its end is cut off."
        run.log("WARN", message)


class Fields:
    """
    Read every field, then call `check()`. Until then a faulty field has its default.

    No field is dropped in silence: a file that was not read is refused, and the log names every other field
    that was not read. A runner that reads a field and cannot do what it asks for must say so itself.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._input = run.input
        self._read = set(PLATFORM_FIELDS)
        self._faults: list[Fault] = []

    def check(self) -> None:
        """Raises `InputInvalid` with all faults."""
        unread = [name for name, value in self._input.items() if name not in self._read and value is not None]
        files = [name for name in unread if self._holds_file(self._input[name])]
        for name in files:
            self.unsupported(name, True, f"This model reads no file here; leave `{name}` out.")
        if self._faults:
            raise InputInvalid(self._faults)
        for name in unread:
            self._run.log("WARN", f"`{name}` {UNKNOWN_FIELD}")

    def fault(self, loc: list[str | int], msg: str, type: str, ctx: dict[str, Any] | None = None) -> None:
        self._faults.append(Fault(loc, msg, type, ctx or {}))

    def given(self, name: str) -> bool:
        """Tells whether the field has a value other than null and the empty string."""
        return self.value(name) not in (None, "")

    def value(self, name: str, default: Any = None) -> Any:
        """Returns the field as it is, for the caller to check."""
        self._read.add(name)
        return self._input.get(name, default)

    def text(self, name: str, default: str | None = None) -> str:
        """Reads a string. Without a default the field is required."""
        value = self.value(name, default)
        if isinstance(value, str):
            return value
        if value is None:
            self.fault([name], "Field required", "missing")
        else:
            self.fault([name], "Input should be a valid string", "string_type")
        return default or ""

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.value(name, default)
        if not _is_number(value) or (math.isfinite(value) and value != int(value)):
            self.fault([name], "Input should be a valid integer", "int_type")
            return default
        return int(self._within(name, value, default, low, high))

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self.value(name, default)
        if not _is_number(value):
            self.fault([name], "Input should be a valid number", "float_type")
            return default
        return float(self._within(name, value, default, low, high))

    def choice(self, name: str, default: str, options: Sequence[str]) -> str:
        value = self.value(name, default)
        if isinstance(value, str) and value in options:
            return value
        self.fault([name], f"Input should be {', '.join(map(repr, options))}", "literal_error")
        return default

    def flag(self, name: str, default: bool) -> bool:
        value = self.value(name, default)
        if isinstance(value, bool):
            return value
        self.fault([name], "Input should be a valid boolean", "bool_type")
        return default

    def seed(self) -> int:
        """
        Reads the seed: any integer of 64 bits, with or without a sign, as torch takes it. The platform draws
        it at submit, so that a retry gives the same result; without the platform it is 0.
        """
        value = self.value("seed")
        if value is None:
            return 0
        if not _is_number(value) or math.isinf(value) or value != int(value):
            self.fault(["seed"], "Input should be a valid integer", "int_type")
            return 0
        return int(self._within("seed", int(value), 0, -(2**63), 2**64 - 1))

    def unsupported(self, name: str, present: bool, message: str) -> None:
        """Refuses a field of the public schema that this engine does not support."""
        self._read.add(name)
        if present:
            self.fault([name], message, "feature_not_supported")

    def _holds_file(self, value: Any) -> bool:
        if isinstance(value, Mapping):
            return any(self._holds_file(part) for part in value.values())
        if isinstance(value, list):
            return any(self._holds_file(part) for part in value)
        return self._run.input_file(value) is not None

    def _within(self, name: str, value: float, default: float, low: float, high: float) -> float:
        if value < low:
            self.fault(
                [name], f"Input should be greater than or equal to {low}", "greater_than_equal", {"ge": low}
            )
            return default
        if value > high:
            self.fault(
                [name], f"Input should be less than or equal to {high}", "less_than_equal", {"le": high}
            )
            return default
        return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
