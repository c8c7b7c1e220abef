"""One denoising by a pipeline: reports its steps, hands out its state, and resumes from it."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from tempera_engine import EngineError, Run

from ..device_faults import is_memory_full
from .scheduler_state import UnserializableState, read_state, write_state
from .silent_network import silent

JSON = "json"
LATENTS = "latents"

log = logging.getLogger("tempera_diffusers")


@dataclass
class NewestStep:
    """The state after the newest step, from which another try in the same process goes on."""

    reported: int = 0
    """Newest step whose progress was reported."""
    step: int = 0
    state: dict[str, Any] | None = None
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)


_newest: ContextVar[NewestStep | None] = ContextVar("newest", default=None)


@contextmanager
def keeping_steps() -> Iterator[None]:
    """Lets a denoising of this thread go on after the newest step of the one before it."""
    token = _newest.set(NewestStep())
    try:
        yield
    finally:
        _newest.reset(token)


class Denoising:
    """
    Watches one call of a pipeline, which gets a scheduler of its own for it:

        with Denoising(run, pipeline, scheduler, draw):
            pipeline(…)

    A resumed call runs its whole course, so that the pipeline itself makes its noise, its masks and its
    images' latents again. The steps that were done before are answered without computing them: the networks
    give zeros, and the scheduler gives the sample back as it is; the last of these steps gives the kept
    latents, and the scheduler its kept state.

    :param draw: makes a preview of latents without the noise that is left in them; None for no previews
    :param resumes: the state after a step is all that the next one needs
    """

    def __init__(
        self,
        run: Run,
        pipeline: Any,
        scheduler: Any,
        draw: Callable[[torch.Tensor], tuple[str, bytes]] | None,
        *,
        resumes: bool = True,
    ) -> None:
        self._run = run
        self._pipeline = pipeline
        self._own_scheduler = pipeline.scheduler
        self._scheduler = scheduler
        self._draw = draw
        self._estimate: Callable[[], torch.Tensor] | None = None
        self._resumes = resumes
        self._offers_checkpoints = resumes
        self._step = 0
        self._networks = ExitStack()
        """Holds the networks silent until it is closed."""
        self._newest = _newest.get() or NewestStep()
        if resumes and self._newest.state is None:
            run.resume(self._read)
        self._resumed_step = self._newest.step

    def __enter__(self) -> None:
        self._watch(self._scheduler)
        self._pipeline.scheduler = self._scheduler
        if self._resumed_step > 0:
            self._networks.enter_context(silent(self._pipeline))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._networks.close()
        self._pipeline.scheduler = self._own_scheduler

    def _watch(self, scheduler: Any) -> None:
        """Wraps the step of the scheduler. Pipelines inspect its signature, which stays the same."""
        own_step = scheduler.step

        @wraps(own_step)
        def step(velocity: torch.Tensor, timestep: Any, sample: torch.Tensor, **options: Any) -> Any:
            self._step += 1
            if self._step <= self._resumed_step:
                return (self._answer(sample),)
            if self._draw is not None:
                self._estimate = _estimate_data(scheduler, velocity, timestep, sample)
            result = own_step(velocity, timestep, sample, **options)
            self._step_done(self._step, result[0])
            return result

        scheduler.step = step

    def _answer(self, sample: torch.Tensor) -> torch.Tensor:
        """Returns the latents after a step that was done before."""
        self._run.check()
        if self._step < self._resumed_step:
            return sample
        self._networks.close()
        kept = self._newest
        read_state(self._scheduler, kept.state or {}, kept.tensors, sample.device)
        return kept.tensors[LATENTS].to(sample.device)

    def _step_done(self, step: int, latents: torch.Tensor) -> None:
        """Reports a step. An exception ends the call before anything is decoded."""
        # The check also waits for the device, which may be steps behind, so that progress counts finished
        # steps.
        if not torch.isfinite(latents).all():
            raise EngineError(
                "runner_server_error",
                f"The latents contain no numbers after step {step}; the model may need another dtype.",
            )
        steps = int(self._pipeline.num_timesteps)
        if step > self._newest.reported:
            self._run.progress(step, steps)
            self._newest.reported = step
        self._keep(step, latents)
        if step == steps:
            # The result itself follows.
            return
        self._show(step)
        if self._offers_checkpoints:
            try:
                self._run.checkpoint(step, lambda: self._write(step, latents))
            except UnserializableState as attribute:
                self._offers_checkpoints = False
                self._run.log(
                    "WARN",
                    f"The scheduler's {attribute} cannot be stored; a retry will start from the beginning.",
                )

    def _keep(self, step: int, latents: torch.Tensor) -> None:
        if not self._resumes:
            return
        try:
            state, tensors = self._snapshot(latents)
        except UnserializableState:
            # Another try starts from the beginning.
            return
        self._newest.step, self._newest.state, self._newest.tensors = step, state, tensors

    def _show(self, step: int) -> None:
        """Sends a preview. One that does not fit the memory must not end the run."""
        draw, estimate = self._draw, self._estimate
        if draw is None or estimate is None:
            return
        try:
            self._run.preview(step, lambda: draw(estimate()))
        except Exception as error:
            if not is_memory_full(error):
                raise
            self._draw = None
            log.warning("Request %s: no memory for previews.", self._run.request_id)

    def _snapshot(self, latents: torch.Tensor) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        tensors = {LATENTS: latents.detach().cpu().contiguous()}
        return write_state(self._scheduler, tensors), tensors

    def _write(self, step: int, latents: torch.Tensor) -> bytes:
        kept = self._newest
        state, tensors = (kept.state, kept.tensors) if kept.step == step else self._snapshot(latents)
        text = torch.frombuffer(bytearray(json.dumps(state).encode()), dtype=torch.uint8)
        return save_tensors({**tensors, JSON: text})

    def _read(self, step: int, data: bytes) -> None:
        try:
            tensors = load_tensors(data)
            state = json.loads(bytes(tensors.pop(JSON).tolist()))
            tensors[LATENTS]
        except (SafetensorError, KeyError, ValueError):
            raise ValueError("its tensors cannot be read") from None
        self._newest.reported = self._newest.step = step
        self._newest.state, self._newest.tensors = state, tensors


def _estimate_data(
    scheduler: Any, velocity: torch.Tensor, timestep: torch.Tensor, latents: torch.Tensor
) -> Callable[[], torch.Tensor] | None:
    """Estimates the data as x − σ·v, for flow matching, whose timesteps are σ in thousandths."""
    if "flow" not in (scheduler.config.get("prediction_type") or "flow_prediction"):
        return None
    sigma = timestep / scheduler.config.num_train_timesteps
    return lambda: latents - sigma.to(latents.device, latents.dtype) * velocity
