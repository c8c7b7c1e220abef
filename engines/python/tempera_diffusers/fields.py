"""Reads the fields of an input and collects their faults, so that the caller learns all of them at once."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tempera_engine import Fault, InputInvalid


class Fields:
    """Read every field, then call `check()`. Until then a faulty field has its default."""

    def __init__(self, input_value: Mapping[str, Any]) -> None:
        self._input = input_value
        self._faults: list[Fault] = []

    def check(self) -> None:
        if self._faults:
            raise InputInvalid(self._faults)

    def fault(self, loc: list[str | int], msg: str, type: str, ctx: dict[str, Any] | None = None) -> None:
        self._faults.append(Fault(loc, msg, type, ctx or {}))

    def given(self, name: str) -> bool:
        """Tells whether the field has a value other than null."""
        return self._input.get(name) is not None

    def text(self, name: str, default: str | None = None) -> str:
        """Reads a string. Without a default the field is required."""
        value = self._input.get(name, default)
        if isinstance(value, str):
            return value
        if value is None:
            self.fault([name], "Field required", "missing")
        else:
            self.fault([name], "Input should be a valid string", "string_type")
        return default or ""

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self._input.get(name, default)
        if not _is_number(value) or (math.isfinite(value) and value != int(value)):
            self.fault([name], "Input should be a valid integer", "int_type")
            return default
        return int(self._within(name, value, default, low, high))

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self._input.get(name, default)
        if not _is_number(value):
            self.fault([name], "Input should be a valid number", "float_type")
            return default
        return float(self._within(name, value, default, low, high))

    def choice(self, name: str, default: str, options: Sequence[str]) -> str:
        value = self._input.get(name, default)
        if isinstance(value, str) and value in options:
            return value
        self.fault([name], f"Input should be {', '.join(map(repr, options))}", "literal_error")
        return default

    def flag(self, name: str, default: bool) -> bool:
        value = self._input.get(name, default)
        if isinstance(value, bool):
            return value
        self.fault([name], "Input should be a valid boolean", "bool_type")
        return default

    def seed(self) -> int:
        """
        Reads the seed: any integer of 64 bits, with or without a sign, as torch takes it. The platform draws
        it at submit, so that a retry gives the same result; without the platform it is 0.
        """
        value = self._input.get("seed")
        if value is None:
            return 0
        if not _is_number(value) or math.isinf(value) or value != int(value):
            self.fault(["seed"], "Input should be a valid integer", "int_type")
            return 0
        return int(self._within("seed", int(value), 0, -(2**63), 2**64 - 1))

    def unsupported(self, name: str, present: bool, message: str) -> None:
        """Refuses a field of the public schema that this engine does not support."""
        if present:
            self.fault([name], message, "feature_not_supported")

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
