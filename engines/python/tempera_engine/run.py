"""One run, as an engine sees it: what it is given, and how it speaks while it works."""

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from .checkpoint import Belongs, DoesNotFit, pack, unpack
from .contract import CHECKPOINT_BYTES_MAX, CHUNK_BYTES_MAX, MESSAGES, PREVIEW_BYTES_MAX
from .errors import RunCancelled
from .files import File, InputFile, chunks_of, digest_of

Level = Literal["DEBUG", "INFO", "WARN", "ERROR"]
State = TypeVar("State")

PREVIEW_SHARE = 1 / 20
"""Of the run's time, what previews may take."""


@dataclass(frozen=True)
class CheckpointPolicy:
    """A checkpoint is due when either has passed since the last one; 0: never for that reason."""

    every_steps: int = 0
    every_seconds: float = 10.0


class Run:
    """
    What is said reaches the caller in the order it was said. All methods may be called from any thread, and all of them raise
    `RunCancelled` once nobody waits for the run any more; let it pass.
    """

    def __init__(
        self,
        *,
        request_id: str,
        attempt: int,
        input_value: dict[str, Any],
        files: Sequence[InputFile],
        previews: bool,
        belongs: Belongs,
        policy: CheckpointPolicy | None,
        checkpoint: bytes | None,
        emit: Callable[[Any], None],
    ) -> None:
        self.request_id = request_id
        self.attempt = attempt
        """1 at the first try of a request."""
        self.input: Mapping[str, Any] = input_value
        """The model's input, checked against the model's schema with defaults applied."""
        self.files = files
        """What the input names by URL, fetched; `input_file` finds the one that a value of the input stands for."""
        self.previews = previews
        """Somebody watches."""
        self._belongs = belongs
        self._policy = policy
        self._given = checkpoint
        self._emit = emit
        self._cancelled = threading.Event()
        # Nothing may come between a file's head and its last chunk, whatever thread says it.
        self._speaking = threading.RLock()
        self._artifacts = 0
        self._step = 0
        self._steps: int | None = None
        self._began = time.monotonic()
        self._first_step: tuple[int, float] | None = None
        self._previewing = 0.0
        self._saved = (0, self._began)

    # What it is given

    def input_file(self, value: Any) -> InputFile | None:
        """The file that a value of the input stands for ("attachment:0"), if it stands for one."""
        match = re.fullmatch(r"attachment:(\d{1,4})", value) if isinstance(value, str) else None
        return self.files[int(match[1])] if match and int(match[1]) < len(self.files) else None

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self._began

    def check(self) -> None:
        """Raises `RunCancelled` when nobody waits for the run any more. Cheap: call it as often as you like."""
        if self._cancelled.is_set():
            raise RunCancelled

    # How it speaks

    def log(self, level: Level, message: str) -> None:
        """A line for the caller of the model: no paths, no secrets."""
        self._say(log=MESSAGES["Log"](level=level, message=message))

    def progress(self, step: int, steps: int, remaining_ms: float | None = None) -> None:
        """`step` of `steps` are done. `step` rises and `steps` stays. The time left is reckoned from the steps so far when it is not given."""
        with self._speaking:
            if not self._step < step <= steps or self._steps not in (None, steps):
                raise ValueError(f"Progress goes from {self._step} of {self._steps} to {step} of {steps}; steps must rise to the same end.")
            now = time.monotonic()
            if self._first_step is None:
                # The first step may include a warm-up, and a run that was resumed did not make those before it.
                self._first_step = (step, now)
            elif remaining_ms is None:
                first, since = self._first_step
                remaining_ms = (now - since) / (step - first) * (steps - step) * 1000
            self._step, self._steps = step, steps
            self._say(progress=MESSAGES["Progress"](step=step, steps=steps, remaining_ms=remaining_ms))

    def preview(self, step: int, make: Callable[[], tuple[str, bytes] | None]) -> None:
        """
        A small picture of the unfinished result after `step`. `make` returns its media type and bytes, or None; it is called
        only when somebody watches, and only as long as previews have taken less than a twentieth of the run's time. One of
        more than 48 KiB is left out.
        """
        self.check()
        began = time.monotonic()
        if not self.previews or self._previewing > (began - self._began) * PREVIEW_SHARE:
            return
        made = make()
        self._previewing += time.monotonic() - began
        if made is not None and 0 < len(made[1]) <= PREVIEW_BYTES_MAX:
            self._say(preview=MESSAGES["Preview"](step=step, content_type=made[0], data=made[1]))

    def artifact(self, file: File, source: bytes | Path) -> dict[str, int]:
        """
        Hands out a produced file, from memory or from disk, and returns what stands for it in the output. When it returns, the
        bytes were taken, and a file on disk may be deleted.
        """
        if not re.fullmatch(r"[\w.-]+", file.name, re.ASCII):
            raise ValueError(f"{file.name!r} is no name for a file: letters, digits, '.', '_' and '-'.")
        size, sha256 = digest_of(source)
        with self._speaking:
            index = self._artifacts
            self._artifacts += 1
            head = MESSAGES["ArtifactHead"](
                index=index,
                content_type=file.content_type,
                file_name=file.name,
                bytes=size,
                sha256=sha256,
                width=file.width,
                height=file.height,
            )
            self._say(artifact=head)
            for chunk in chunks_of(source, CHUNK_BYTES_MAX):
                self._say(chunk=MESSAGES["ArtifactChunk"](index=index, data=chunk))
        return {"$artifact": index}

    # How it goes on after a crash

    def resume(self, read: Callable[[int, bytes], State]) -> State | None:
        """
        What an earlier attempt handed out with `checkpoint`, if it fits: `read` is given the step and the bytes, and raises
        `ValueError` when it cannot go on from them. The caller reads in the log from which step the run goes on, or why it does
        not; None then, and when there is none.
        """
        if self._given is None:
            return None
        data, self._given = self._given, None
        try:
            step, state = unpack(data, self._belongs)
            value = read(step, state)
        except (DoesNotFit, ValueError) as why:
            self.log("WARN", f"The checkpoint of an earlier attempt is left alone: {why}. The run begins at its beginning.")
            return None
        self.log("INFO", f"Goes on from step {step}, where an earlier attempt left off.")
        self._step = step
        self._saved = (step, time.monotonic())
        return value

    def checkpoint(self, step: int, make: Callable[[], bytes]) -> None:
        """
        Offers the state after `step`, which was told to `progress` before. `make` is called when the caller keeps checkpoints and one
        is due. Its bytes must be all that another process needs to go on to the very same result. After the last step none is
        due: nothing would be left to go on with.
        """
        self.check()
        if self._policy is None or step == self._steps:
            return
        saved_step, saved_at = self._saved
        policy = self._policy
        by_steps = policy.every_steps > 0 and step - saved_step >= policy.every_steps
        by_time = policy.every_seconds > 0 and time.monotonic() - saved_at >= policy.every_seconds
        if not by_steps and not by_time:
            return
        data = pack(self._belongs, step, make())
        self._saved = (step, time.monotonic())
        if len(data) > CHECKPOINT_BYTES_MAX:
            self.log("WARN", f"The state after step {step} is larger than a checkpoint may be; a retry will begin at the beginning.")
            self._policy = None
            return
        with self._speaking:
            self._say(checkpoint=MESSAGES["Checkpoint"](step=step, bytes=len(data)))
            for chunk in chunks_of(data, CHUNK_BYTES_MAX):
                self._say(checkpoint_chunk=MESSAGES["CheckpointChunk"](data=chunk))

    def _cancel(self) -> None:
        self._cancelled.set()

    def _say(self, **event: Any) -> None:
        with self._speaking:
            self.check()
            self._emit(MESSAGES["RunEvent"](**event))
