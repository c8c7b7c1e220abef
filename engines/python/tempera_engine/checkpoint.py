"""
The form of a checkpoint: a line that names the form, the length of a JSON head, the head, and the engine's own bytes.

The head says what the bytes belong to, so that an attempt on another machine can tell whether it may go on from them. They are
never unpickled or run.
"""

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .files import InputFile

MAGIC = b"TEMPERA CHECKPOINT 1\n"
LENGTH = struct.Struct(">I")
HEAD_BYTES_MAX = 64 * 1024


@dataclass(frozen=True)
class Belongs:
    """What a checkpoint must be of to be gone on from."""

    model: str
    """The digest of the model version, with its name for a worker that knows no digest."""
    input: str
    """Of the input and the files that it names."""
    format: str
    """The engine's own: `Engine.checkpoint_format`."""


class DoesNotFit(Exception):
    """The bytes are no checkpoint of this run; the text says why, for the caller."""


def input_digest(input_value: dict[str, Any], files: Sequence[InputFile]) -> str:
    """The same for equal inputs, however their fields are ordered; a file counts by its content."""
    canonical = json.dumps([input_value, [file.sha256 for file in files]], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def pack(belongs: Belongs, step: int, state: bytes) -> bytes:
    head = {
        "model": belongs.model,
        "input": belongs.input,
        "format": belongs.format,
        "step": step,
        "sha256": hashlib.sha256(state).hexdigest(),
    }
    encoded = json.dumps(head).encode()
    return b"".join([MAGIC, LENGTH.pack(len(encoded)), encoded, state])


def unpack(data: bytes, belongs: Belongs) -> tuple[int, bytes]:
    """The step and the engine's bytes. Raises `DoesNotFit` for anything that `pack` did not make of the very same run."""
    start = len(MAGIC) + LENGTH.size
    if not data.startswith(MAGIC) or len(data) < start:
        raise DoesNotFit("it is no checkpoint")
    (length,) = LENGTH.unpack_from(data, len(MAGIC))
    if length > HEAD_BYTES_MAX:
        raise DoesNotFit("its head cannot be read")
    try:
        head = json.loads(data[start : start + length])
        parts = {name: head[name] for name in ("model", "input", "format", "sha256")}
        step = int(head["step"])
    except (ValueError, KeyError, TypeError):
        raise DoesNotFit("its head cannot be read") from None
    for name, says in (("model", "another model version"), ("input", "another input"), ("format", "another form")):
        if parts[name] != getattr(belongs, name):
            raise DoesNotFit(f"it is of {says}")
    state = data[start + length :]
    if hashlib.sha256(state).hexdigest() != parts["sha256"]:
        raise DoesNotFit("it is damaged")
    return step, state
