"""Files that a run takes and files that it makes."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class InputFile:
    """A file that the input names, fetched. It may be read until the run ends, and is gone after it."""

    path: Path
    content_type: str
    """As the place it came from said; the bytes may be something else."""
    bytes: int
    sha256: str
    """Lower-case hex."""


@dataclass(frozen=True)
class File:
    """What is said of a file that a run makes."""

    content_type: str
    """One of `Capabilities.artifact_types`."""
    name: str
    """Letters, digits, `.`, `_` and `-`."""
    width: int | None = None
    """In pixels, of pictures and videos."""
    height: int | None = None


def digest_of(source: bytes | Path) -> tuple[int, str]:
    """How many bytes there are, and their SHA-256 in hex. A file is read in pieces, so it may be larger than memory."""
    if isinstance(source, bytes):
        return len(source), hashlib.sha256(source).hexdigest()
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()


def chunks_of(source: bytes | Path, size: int) -> Iterator[bytes]:
    """The bytes in pieces of at most `size`, of which none is empty."""
    if isinstance(source, bytes):
        for at in range(0, len(source), size):
            yield source[at : at + size]
        return
    with source.open("rb") as file:
        while chunk := file.read(size):
            yield chunk
