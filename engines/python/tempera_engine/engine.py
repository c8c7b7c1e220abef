"""The class that an engine implements."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .memory import Memory, host_memory
from .run import Run

Progress = Callable[[float, str], None]
"""
Called with the share of the load that is done, from 0 to 1 and never falling, and with what was just loaded.
"""


@dataclass(frozen=True)
class Capabilities:
    runners: list[str]
    """Kinds of inference that it has: the possible values of `runner:` in a manifest."""
    artifact_types: list[str]
    """Media types of the files it produces."""
    max_batch: int = 1
    """
    Largest number of simultaneous runs. Each has a thread of its own. With 1 they run one after another.
    """
    supports_streaming: bool = False
    """The engine emits partial results while it runs."""
    supports_checkpoint: bool = False
    """The engine calls `Run.checkpoint` and `Run.resume`."""


@dataclass(frozen=True)
class Model:
    """The model version to load: the part of its manifest that an engine needs."""

    endpoint: str
    version: str
    runner: str
    folder: Path
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The manifest's `parameters`. The engine documents and checks them."""
    slots: int = 1
    """Largest number of simultaneous runs."""


class Engine(ABC):
    """
    A process has one engine, loads one model version into it, and runs requests until the GPU worker goes
    away.

    The package does everything else: the socket, the protocol, waiting for a slot, cancelling, files in
    chunks with digests, errors, health. The methods of an engine may block: they run in threads of their own.
    """

    checkpoint_format = "1"
    """
    Part of every checkpoint; a run does not resume from one of another format. Change it whenever the bytes
    given to `Run.checkpoint` change.
    """

    @abstractmethod
    def describe(self) -> Capabilities:
        """
        Describes the engine. Called often, and before anything is loaded: import and load nothing heavy here.
        """

    @abstractmethod
    def load(self, model: Model, progress: Progress) -> None:
        """
        Loads the model version. Called once, in a thread. Import heavy packages here, since the process must
        answer within seconds.

        Raise any exception when it cannot be loaded. Its text is a sentence for the operator, so name the
        file or the parameter, what is wrong with it, and the remedy.
        """

    @abstractmethod
    def run(self, run: Run) -> dict[str, Any]:
        """
        Runs one request. Called in a thread, for up to `slots` requests at once. Returns the output, which
        must be convertible to JSON; what `run.artifact` returned stands for a file in it.

        Must call a method of `run` (`progress`, `check`, …) at least every 300 ms: a cancel takes effect
        there.
        """

    def memory(self) -> Memory:
        """
        Returns the memory of the device and the part that this process holds; by default those of the host.
        """
        return host_memory()
