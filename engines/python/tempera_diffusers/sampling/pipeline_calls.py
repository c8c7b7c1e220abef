"""Calls of pipelines on the networks of one folder."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from tempera_engine import Run

from ..adapters import Adapters, Lora, networks_of
from ..parameters import Parameters
from ..recipes import Recipe, Recipes
from .denoising import Denoising


class PipelineCalls:
    """
    Prepares the networks for each call of a pipeline, and leaves them as they were.

    :param loaded: the pipeline of the folder; others that are called have the same networks
    """

    def __init__(self, loaded: Any, parameters: Parameters, recipes: Recipes) -> None:
        self._loaded = loaded
        # With offloading, the decoder and the working network would move each other off the device at each
        # preview.
        self._draws = parameters.offload == "none"
        self._adapters = Adapters(loaded, parameters.lorasKeptMiB)
        self._adapters.add(recipes.loras)

    @contextmanager
    def prepared(
        self,
        run: Run,
        pipeline: Any,
        recipe: Recipe,
        loras: Sequence[Lora],
        draw: Callable[[torch.Tensor], tuple[str, bytes]],
        **settings: Any,
    ) -> Iterator[None]:
        """
        Holds what one call needs: its adapters, its step cache, and a scheduler of its own that is watched.

        :param loras: those of the request, beside the recipe's
        :param draw: makes a preview of latents without the noise that is left in them
        :param settings: of the scheduler, where it has them
        """
        scheduler = recipe.scheduler_of(self._loaded.scheduler, **settings)
        draw_or_none = draw if self._draws else None
        try:
            with (
                self._adapters.active(run, [*recipe.loras, *loras]),
                recipe.caching(networks_of(pipeline)),
                Denoising(run, pipeline, scheduler, draw_or_none, resumes=recipe.cache is None),
            ):
                yield
        finally:
            # An interrupted call leaves a network on the device.
            self._loaded.maybe_free_model_hooks()
