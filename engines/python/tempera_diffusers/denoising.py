"""One denoising by a pipeline: reports its steps, hands out its state, and resumes from it."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from tempera_engine import EngineError, Run

from .device_faults import is_memory_full
from .scheduler_state import UnserializableState, read_state, write_state

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
    Wraps one call of a pipeline, which gets a scheduler of its own for it:

        denoising = Denoising(run, pipeline, scheduler, draw)
        pipeline(…, **denoising.arguments)

    :param draw: makes a preview of latents without the noise that is left in them; None for no previews
    """

    def __init__(
        self,
        run: Run,
        pipeline: Any,
        scheduler: Any,
        draw: Callable[[torch.Tensor], tuple[str, bytes]] | None,
    ) -> None:
        self._run = run
        self._scheduler = scheduler
        self._device = pipeline._execution_device
        self._draw = draw
        self._estimate: Callable[[], torch.Tensor] | None = None
        self._offers_checkpoints = True
        self._resumed_step = 0
        self._steps = 0
        self._state: dict[str, Any] | None = None
        self._tensors: dict[str, torch.Tensor] = {}
        self.arguments: dict[str, Any] = {
            "callback_on_step_end": self._step_done,
            "callback_on_step_end_tensor_inputs": [LATENTS],
        }
        self._newest = _newest.get() or NewestStep()
        if self._newest.state is None:
            run.resume(self._read)
        else:
            self._resumed_step = self._newest.step
            self._state, self._tensors = self._newest.state, self._newest.tensors
        if self._state is not None:
            self.arguments[LATENTS] = self._tensors[LATENTS]
        pipeline.scheduler = scheduler
        self._watch(scheduler)

    def _watch(self, scheduler: Any) -> None:
        """Wraps two methods of the scheduler. Pipelines inspect their signatures, which stay the same."""
        own_set_timesteps, own_step = scheduler.set_timesteps, scheduler.step
        all_timesteps: torch.Tensor | None = None

        @wraps(own_set_timesteps)
        def set_timesteps(*args: Any, **kwargs: Any) -> None:
            nonlocal all_timesteps
            own_set_timesteps(*args, **kwargs)
            self._steps = len(scheduler.timesteps)
            if self._state is not None:
                read_state(scheduler, self._state, self._tensors, self._device)
                # The pipeline iterates over the remaining timesteps …
                all_timesteps = scheduler.timesteps
                scheduler.timesteps = scheduler.timesteps[self._resumed_step :]

        @wraps(own_step)
        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal all_timesteps
            if all_timesteps is not None:
                # … while the scheduler needs all of them: UniPC lowers its order towards the last ones.
                scheduler.timesteps, all_timesteps = all_timesteps, None
            if self._draw is not None:
                self._estimate = _estimate_data(scheduler, *args)
            return own_step(*args, **kwargs)

        scheduler.set_timesteps, scheduler.step = set_timesteps, step

    def _step_done(
        self, _pipeline: Any, index: int, _timestep: Any, values: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Called by the pipeline after each step. An exception ends the call before anything is decoded."""
        step = self._resumed_step + index + 1
        latents = values[LATENTS]
        # The check also waits for the device, which may be steps behind, so that progress counts finished
        # steps.
        if not torch.isfinite(latents).all():
            raise EngineError(
                "runner_server_error",
                f"The latents contain no numbers after step {step}; the model may need another dtype.",
            )
        if step > self._newest.reported:
            self._run.progress(step, self._steps)
            self._newest.reported = step
        self._keep(step, latents)
        if step == self._steps:
            # The result itself follows.
            return {}
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
        return {}

    def _keep(self, step: int, latents: torch.Tensor) -> None:
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
        self._resumed_step, self._state, self._tensors = step, state, tensors
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
