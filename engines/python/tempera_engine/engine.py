"""The one class to fill in."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .memory import Memory, host_memory
from .run import Run

Progress = Callable[[float, str], None]
"""Takes the share of the load that is done, 0..1 and never falling, and what was just loaded."""


@dataclass(frozen=True)
class Capabilities:
    runners: list[str]
    """Kinds of inference it has: what `runner:` of a manifest may say."""
    artifact_types: list[str]
    """Media types of the files it produces."""
    max_batch: int = 1
    """Runs it can work on at once, at most. Each has a thread of its own. 1: one after the other."""
    supports_streaming: bool = False
    """Emits partial results while it runs."""
    supports_checkpoint: bool = False
    """Calls `Run.checkpoint` and `Run.resume`."""


@dataclass(frozen=True)
class Model:
    """The model version to load: its manifest, as far as an engine needs it."""

    endpoint: str
    version: str
    runner: str
    folder: Path
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The manifest's `parameters`. The engine documents and checks them."""
    slots: int = 1
    """Runs that come at once, at most."""


class Engine(ABC):
    """
    A process has one engine, loads one model version into it, and runs requests until the GPU worker goes away.

    Everything else is done for it: the socket, the wire, waiting for a slot, cancelling, files in chunks with digests,
    errors, health. What an engine does may block: it has threads of its own.
    """

    checkpoint_format = "1"
    """Goes into every checkpoint; one of another format is not gone on from. Change it when what `Run.checkpoint` is given changes."""

    @abstractmethod
    def describe(self) -> Capabilities:
        """What the engine can do. Asked before anything is loaded and often: import and load nothing heavy here."""

    @abstractmethod
    def load(self, model: Model, progress: Progress) -> None:
        """
        Loads the model version, once, in a thread. Import what is heavy here, since the process must answer within seconds.

        Raise any exception when it cannot be loaded: its text is a sentence for the operator, so name the file or the
        parameter, what is wrong with it, and the remedy.
        """

    @abstractmethod
    def run(self, run: Run) -> dict[str, Any]:
        """
        Runs one request, in a thread; up to `slots` of them at once. Returns the output, which JSON can hold; where a file
        stands in it, put what `run.artifact` returned.

        Must call something of `run` (`progress`, `check`, …) at least every 300 ms: that is where a cancel takes effect.
        """

    def memory(self) -> Memory:
        """Of the device: its memory, and what this process holds of it. The host's, unless the engine says otherwise."""
        return host_memory()
