"""Runs an engine as the server does, but without the protocol, and records all its events."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tempera_engine import Engine, InputFile, Run, RunCancelled
from tempera_engine.checkpoint import CheckpointOwner, input_digest
from tempera_engine.run import CheckpointPolicy

EVERY_STEP = CheckpointPolicy(every_steps=1, every_seconds=0)


@dataclass
class Judged:
    events: list[Any] = field(default_factory=list)
    output: dict[str, Any] | None = None
    cancelled: bool = False
    files: list[bytes] = field(default_factory=list)
    checkpoints: dict[int, bytes] = field(default_factory=dict)
    """By step."""

    @property
    def steps(self) -> list[int]:
        return [event.progress.step for event in self.events if event.WhichOneof("event") == "progress"]

    @property
    def previews(self) -> list[tuple[int, bytes]]:
        return [
            (event.preview.step, event.preview.data)
            for event in self.events
            if event.WhichOneof("event") == "preview"
        ]

    @property
    def logs(self) -> list[tuple[str, str]]:
        return [
            (event.log.level, event.log.message)
            for event in self.events
            if event.WhichOneof("event") == "log"
        ]

    @property
    def digests(self) -> list[str]:
        return [hashlib.sha256(file).hexdigest() for file in self.files]


def judge(
    engine: Engine,
    input_value: dict[str, Any],
    *,
    files: Sequence[InputFile] = (),
    policy: CheckpointPolicy | None = None,
    checkpoint: bytes | None = None,
    previews: bool = False,
    on_event: Callable[[Run, Any], None] = lambda run, event: None,
) -> Judged:
    """Runs one input. Passes exceptions of the engine through, except for a cancel, which is recorded."""
    judged = Judged()
    checkpoint_step = 0

    def emit(event: Any) -> None:
        nonlocal checkpoint_step
        kind = event.WhichOneof("event")
        if kind == "artifact":
            judged.files.append(b"")
        elif kind == "chunk":
            judged.files[-1] += event.chunk.data
        elif kind == "checkpoint":
            checkpoint_step = event.checkpoint.step
            judged.checkpoints[checkpoint_step] = b""
        elif kind == "checkpoint_chunk":
            judged.checkpoints[checkpoint_step] += event.checkpoint_chunk.data
        judged.events.append(event)
        on_event(run, event)

    run = Run(
        request_id="request",
        attempt=1,
        input_value=input_value,
        files=files,
        previews=previews,
        owner=CheckpointOwner("acme/tiny 1.0.0", input_digest(input_value, files), engine.checkpoint_format),
        policy=policy,
        checkpoint=checkpoint,
        emit=emit,
    )
    try:
        judged.output = engine.run(run)
    except RunCancelled:
        judged.cancelled = True
    return judged
