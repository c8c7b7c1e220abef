"""One denoising by a pipeline: its steps reported, its state handed out, and gone on from."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from tempera_engine import EngineError, Run

from .scheduler_state import NoPlainState, give_state, take_state

JSON = "json"
LATENTS = "latents"


class Denoising:
    """
    Goes around one call of a pipeline, which has a scheduler of its own for it:

        denoising = Denoising(run, pipeline, scheduler, draw)
        pipeline(…, **denoising.arguments)

    :param draw: makes a preview of what the latents would be without the noise that is left in them; None: there are none
    """

    def __init__(self, run: Run, pipeline: Any, scheduler: Any, draw: Callable[[torch.Tensor], tuple[str, bytes]] | None) -> None:
        self._run = run
        self._scheduler = scheduler
        self._device = pipeline._execution_device
        self._draw = draw
        self._guess: Callable[[], torch.Tensor] | None = None
        self._keeps = True
        self._from = 0
        self._steps = 0
        self._state: dict[str, Any] | None = None
        self._tensors: dict[str, torch.Tensor] = {}
        self.arguments: dict[str, Any] = {"callback_on_step_end": self._step_done, "callback_on_step_end_tensor_inputs": [LATENTS]}
        run.resume(self._read)
        if self._state is not None:
            self.arguments[LATENTS] = self._tensors[LATENTS]
        pipeline.scheduler = scheduler
        self._watch(scheduler)

    def _watch(self, scheduler: Any) -> None:
        """Goes around two methods of the scheduler. Pipelines look at their signatures, which stay."""
        own_set_timesteps, own_step = scheduler.set_timesteps, scheduler.step
        all_timesteps: torch.Tensor | None = None

        @wraps(own_set_timesteps)
        def set_timesteps(*args: Any, **kwargs: Any) -> None:
            nonlocal all_timesteps
            own_set_timesteps(*args, **kwargs)
            self._steps = len(scheduler.timesteps)
            if self._state is not None:
                give_state(scheduler, self._state, self._tensors, self._device)
                # The pipeline goes through those that are left …
                all_timesteps = scheduler.timesteps
                scheduler.timesteps = scheduler.timesteps[self._from :]

        @wraps(own_step)
        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal all_timesteps
            if all_timesteps is not None:
                # … while the scheduler reckons with all of them: UniPC lowers its order towards the last.
                scheduler.timesteps, all_timesteps = all_timesteps, None
            if self._draw is not None:
                self._guess = _data_of(scheduler, *args)
            return own_step(*args, **kwargs)

        scheduler.set_timesteps, scheduler.step = set_timesteps, step

    def _step_done(self, _pipeline: Any, index: int, _timestep: Any, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Called by the pipeline after each step. What it raises ends the call, before anything is decoded."""
        step = self._from + index + 1
        latents = values[LATENTS]
        # Also waits for the device, which is steps behind otherwise: progress is of what is done.
        if not torch.isfinite(latents).all():
            raise EngineError("runner_server_error", f"The latents are no numbers after step {step}; the model may need another dtype.")
        self._run.progress(step, self._steps)
        if step == self._steps:
            # The result itself is next.
            return {}
        draw, guess = self._draw, self._guess
        if draw is not None and guess is not None:
            self._run.preview(step, lambda: draw(guess()))
        if self._keeps:
            try:
                self._run.checkpoint(step, lambda: self._write(latents))
            except NoPlainState as attribute:
                self._keeps = False
                self._run.log("WARN", f"The scheduler's {attribute} cannot be kept; a retry begins at the beginning.")
        return {}

    def _write(self, latents: torch.Tensor) -> bytes:
        tensors = {LATENTS: latents.detach().cpu().contiguous()}
        state = take_state(self._scheduler, tensors)
        text = torch.frombuffer(bytearray(json.dumps(state).encode()), dtype=torch.uint8)
        return save_tensors({**tensors, JSON: text})

    def _read(self, step: int, data: bytes) -> None:
        try:
            tensors = load_tensors(data)
            state = json.loads(bytes(tensors.pop(JSON).tolist()))
            tensors[LATENTS]
        except (SafetensorError, KeyError, ValueError):
            raise ValueError("its tensors cannot be read") from None
        self._from, self._state, self._tensors = step, state, tensors


def _data_of(scheduler: Any, velocity: torch.Tensor, timestep: torch.Tensor, latents: torch.Tensor) -> Callable[[], torch.Tensor] | None:
    """What the network takes the data to be, x − σ·v: of flow matching, whose timesteps are σ in thousandths."""
    if "flow" not in (scheduler.config.get("prediction_type") or "flow_prediction"):
        return None
    sigma = timestep / scheduler.config.num_train_timesteps
    return lambda: latents - sigma.to(latents.device, latents.dtype) * velocity
