"""One run, as an engine sees it: its input, and its reports while it works."""

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from .checkpoint import CheckpointMismatch, CheckpointOwner, pack, unpack
from .contract import CHECKPOINT_BYTES_MAX, CHUNK_BYTES_MAX, MESSAGES, PREVIEW_BYTES_MAX
from .errors import RunCancelled
from .files import File, InputFile, chunks_of, digest_of

Level = Literal["DEBUG", "INFO", "WARN", "ERROR"]
State = TypeVar("State")

PREVIEW_SHARE = 1 / 20
"""Share of the run's time that previews may take."""


@dataclass(frozen=True)
class CheckpointPolicy:
    """
    A checkpoint is due when either interval has passed since the last one. An interval of 0 never passes.
    """

    every_steps: int = 0
    every_seconds: float = 10.0


class Run:
    """
    A run. Its reports reach the caller in the order in which they were made. All methods may be called from
    any thread, and all of them raise `RunCancelled` once nobody waits for the run any more; let it pass.
    """

    def __init__(
        self,
        *,
        request_id: str,
        attempt: int,
        input_value: dict[str, Any],
        files: Sequence[InputFile],
        previews: bool,
        owner: CheckpointOwner,
        policy: CheckpointPolicy | None,
        checkpoint: bytes | None,
        emit: Callable[[Any], None],
    ) -> None:
        self.request_id = request_id
        self.attempt = attempt
        """1 at the first attempt of a request."""
        self.input: Mapping[str, Any] = input_value
        """The model's input, checked against the model's schema, with defaults applied."""
        self.files = files
        """
        Files that the input names by URL, fetched. `input_file` finds the one that a value of the input
        stands for.
        """
        self.previews = previews
        """Somebody is watching."""
        self._owner = owner
        self._policy = policy
        self._given = checkpoint
        self._emit = emit
        self._cancelled = threading.Event()
        # Nothing from any thread may come between a file's head and its last chunk.
        self._sending = threading.RLock()
        self._artifacts = 0
        self._step = 0
        self._steps: int | None = None
        self._began = time.monotonic()
        self._first_step: tuple[int, float] | None = None
        self._previewing = 0.0
        self._saved = (0, self._began)

    # Input

    def input_file(self, value: Any) -> InputFile | None:
        """Returns the file that a value of the input stands for ("attachment:0"), if it stands for one."""
        match = re.fullmatch(r"attachment:(\d{1,4})", value) if isinstance(value, str) else None
        return self.files[int(match[1])] if match and int(match[1]) < len(self.files) else None

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    def check(self) -> None:
        """Raises `RunCancelled` when nobody waits for the run any more. It is cheap to call often."""
        if self._cancelled.is_set():
            raise RunCancelled

    # Reports

    def log(self, level: Level, message: str) -> None:
        """Sends a log line to the caller of the model: no paths, no secrets."""
        self._send(log=MESSAGES["Log"](level=level, message=message))

    def progress(self, step: int, steps: int, remaining_ms: float | None = None) -> None:
        """
        Reports that `step` of `steps` are done. `step` must rise and `steps` must stay the same. The
        remaining time is estimated from the steps so far when it is not given.
        """
        with self._sending:
            if not self._step < step <= steps or self._steps not in (None, steps):
                raise ValueError(
                    f"Progress goes from {self._step} of {self._steps} to {step} of {steps}; "
                    "the step must rise and the number of steps must stay."
                )
            now = time.monotonic()
            if self._first_step is None:
                # The first step may include a warm-up, and a resumed run did not compute the steps before it.
                self._first_step = (step, now)
            elif remaining_ms is None:
                first, since = self._first_step
                remaining_ms = (now - since) / (step - first) * (steps - step) * 1000
            self._step, self._steps = step, steps
            self._send(progress=MESSAGES["Progress"](step=step, steps=steps, remaining_ms=remaining_ms))

    def preview(self, step: int, make: Callable[[], tuple[str, bytes] | None]) -> None:
        """
        Sends a small image of the unfinished result after `step`. `make` returns its media type and bytes, or
        None. It is called only when somebody is watching, and only while previews have taken less than a
        twentieth of the run's time. An image of more than 48 KiB is left out.
        """
        self.check()
        began = time.monotonic()
        if not self.previews or self._previewing > (began - self._began) * PREVIEW_SHARE:
            return
        made = make()
        self._previewing += time.monotonic() - began
        if made is not None and 0 < len(made[1]) <= PREVIEW_BYTES_MAX:
            self._send(preview=MESSAGES["Preview"](step=step, content_type=made[0], data=made[1]))

    def artifact(self, file: File, source: bytes | Path) -> dict[str, int]:
        """
        Sends a produced file, from memory or from disk, and returns the object that stands for it in the
        output. When it returns, the bytes have been read, and a file on disk may be deleted.
        """
        if not re.fullmatch(r"[\w.-]+", file.name, re.ASCII):
            raise ValueError(
                f"{file.name!r} is not a valid file name: use letters, digits, '.', '_' and '-'."
            )
        size, sha256 = digest_of(source)
        with self._sending:
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
            self._send(artifact=head)
            for chunk in chunks_of(source, CHUNK_BYTES_MAX):
                self._send(chunk=MESSAGES["ArtifactChunk"](index=index, data=chunk))
        return {"$artifact": index}

    # Checkpoints

    def resume(self, read: Callable[[int, bytes], State]) -> State | None:
        """
        Returns what `read` makes of the last checkpoint of an earlier attempt. Returns None when there is no
        checkpoint or it does not fit. `read` is given the step and the bytes, and raises `ValueError` when it
        cannot resume from them. The log tells the caller from which step the run goes on, or why it starts
        from the beginning.
        """
        if self._given is None:
            return None
        data, self._given = self._given, None
        try:
            step, state = unpack(data, self._owner)
            value = read(step, state)
        except (CheckpointMismatch, ValueError) as reason:
            self.log(
                "WARN",
                f"The checkpoint of an earlier attempt is ignored: {reason}. Starting from the beginning.",
            )
            return None
        self.log("INFO", f"Going on from step {step}.")
        self._step = step
        self._saved = (step, time.monotonic())
        return value

    def checkpoint(self, step: int, make: Callable[[], bytes]) -> None:
        """
        Offers the state after `step`, which must have been reported by `progress` before. `make` is called
        when the caller stores checkpoints and one is due. Its bytes must be all that another process needs to
        resume and reach the very same result. No checkpoint is due after the last step.
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
        data = pack(self._owner, step, make())
        self._saved = (step, time.monotonic())
        if len(data) > CHECKPOINT_BYTES_MAX:
            self.log(
                "WARN",
                f"The state after step {step} is larger than a checkpoint may be; "
                "a retry will start from the beginning.",
            )
            self._policy = None
            return
        with self._sending:
            self._send(checkpoint=MESSAGES["Checkpoint"](step=step, bytes=len(data)))
            for chunk in chunks_of(data, CHUNK_BYTES_MAX):
                self._send(checkpoint_chunk=MESSAGES["CheckpointChunk"](data=chunk))

    def _cancel(self) -> None:
        self._cancelled.set()

    def _send(self, **event: Any) -> None:
        with self._sending:
            self.check()
            self._emit(MESSAGES["RunEvent"](**event))
