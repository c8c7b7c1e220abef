"""Files that a run reads and files that it produces."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class InputFile:
    """A file that the input names, fetched. It may be read until the run ends; then it is deleted."""

    path: Path
    content_type: str
    """Media type that the file's source declared. The bytes may be something else."""
    bytes: int
    sha256: str
    """Lower-case hex."""


@dataclass(frozen=True)
class File:
    """Description of a file that a run produces."""

    content_type: str
    """One of `Capabilities.artifact_types`."""
    name: str
    """Letters, digits, `.`, `_` and `-`."""
    width: int | None = None
    """In pixels, for images and videos."""
    height: int | None = None


def digest_of(source: bytes | Path) -> tuple[int, str]:
    """
    Returns the size in bytes and the SHA-256 in hex. A file is read in pieces, so it may be larger than
    memory.
    """
    if isinstance(source, bytes):
        return len(source), hashlib.sha256(source).hexdigest()
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()


def chunks_of(source: bytes | Path, size: int) -> Iterator[bytes]:
    """Yields the bytes in pieces of at most `size` bytes; no piece is empty."""
    if isinstance(source, bytes):
        for offset in range(0, len(source), size):
            yield source[offset : offset + size]
        return
    with source.open("rb") as file:
        while chunk := file.read(size):
            yield chunk
