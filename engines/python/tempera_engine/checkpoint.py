"""
The format of a checkpoint: a line that names the format, the length of a JSON header, the header, and the
engine's own bytes.

The header names what the bytes belong to, so that an attempt on another machine can decide whether to resume
from them. The bytes are never unpickled or executed.
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
HEADER_BYTES_MAX = 64 * 1024


@dataclass(frozen=True)
class CheckpointOwner:
    """The run that a checkpoint belongs to: only a run with an equal owner resumes from it."""

    model: str
    """Name and digest of the model version; the digest is empty when the worker knows none."""
    input: str
    """Digest of the input and of the files that it names."""
    format: str
    """The engine's `Engine.checkpoint_format`."""


class CheckpointMismatch(Exception):
    """The bytes are not a checkpoint of this run. The text gives the caller the reason."""


def input_digest(input_value: dict[str, Any], files: Sequence[InputFile]) -> str:
    """
    Digests an input. Equal inputs have the same digest, whatever the order of their fields; a file counts by
    its content.
    """
    canonical = json.dumps(
        [input_value, [file.sha256 for file in files]], sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def pack(owner: CheckpointOwner, step: int, state: bytes) -> bytes:
    header = {
        "model": owner.model,
        "input": owner.input,
        "format": owner.format,
        "step": step,
        "sha256": hashlib.sha256(state).hexdigest(),
    }
    encoded = json.dumps(header).encode()
    return b"".join([MAGIC, LENGTH.pack(len(encoded)), encoded, state])


def unpack(data: bytes, owner: CheckpointOwner) -> tuple[int, bytes]:
    """
    Returns the step and the engine's bytes. Raises `CheckpointMismatch` unless `pack` made the data for the
    same run.
    """
    start = len(MAGIC) + LENGTH.size
    if not data.startswith(MAGIC) or len(data) < start:
        raise CheckpointMismatch("it is not a checkpoint")
    (length,) = LENGTH.unpack_from(data, len(MAGIC))
    if length > HEADER_BYTES_MAX:
        raise CheckpointMismatch("its header cannot be read")
    try:
        header = json.loads(data[start : start + length])
        parts = {name: header[name] for name in ("model", "input", "format", "sha256")}
        step = int(header["step"])
    except (ValueError, KeyError, TypeError):
        raise CheckpointMismatch("its header cannot be read") from None
    for name, other in (
        ("model", "another model version"),
        ("input", "another input"),
        ("format", "another format"),
    ):
        if parts[name] != getattr(owner, name):
            raise CheckpointMismatch(f"it belongs to {other}")
    state = data[start + length :]
    if hashlib.sha256(state).hexdigest() != parts["sha256"]:
        raise CheckpointMismatch("it is damaged")
    return step, state
