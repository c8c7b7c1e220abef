"""
Recipes of a manifest (`parameters.recipes`): settings that fal's `use_turbo` and `acceleration` select, or
that an endpoint such as `…/turbo` always has (`parameters.recipe`).
"""

import hashlib
import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import diffusers
from tempera_engine import InputFile

from .adapters import NETWORKS, SCALE_MAX, Lora, is_expert, is_scale, networks_for, networks_of
from .fields import Fields, no_effect
from .reasons import reason_of

NAMES = ("turbo", "regular", "high")
"""`turbo` is behind `use_turbo`; the others are values of `acceleration`."""

SCHEDULERS = ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler")

CACHES = {
    "first-block": "FirstBlockCacheConfig",
    "taylor": "TaylorSeerCacheConfig",
    "mag": "MagCacheConfig",
}
"""Step caches: the name in a manifest, and the configuration of diffusers that has its further settings."""

LORA_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Recipe:
    """Settings that replace those of a request. What is None or empty is the request's, or the model's."""

    name: str
    steps: int | None = None
    guidanceScale: float | None = None
    guidanceScale2: float | None = None
    """Guidance of Wan's expert for low noise."""
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the scheduler that differ from the folder's; `class` names another one."""
    loras: tuple[Lora, ...] = ()
    """Weights in the model's folder."""
    cache: Any = None
    """Configuration of a step cache. A run with one does not resume: its skipped passes leave no state."""

    @property
    def replaced(self) -> list[str]:
        """The fields of an input that it replaces."""
        values = {
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidanceScale,
            "guidance_scale_2": self.guidanceScale2,
        }
        return [name for name, value in values.items() if value is not None]

    @property
    def sets_shift(self) -> bool:
        """Its noise levels replace those of `shift`, a field of videos."""
        return "shift" in self.scheduler or "flow_shift" in self.scheduler

    @property
    def remarks(self) -> list[str]:
        """Says which fields of an input it replaces, and what else its caller should know."""
        replaced = self.replaced
        remarks = (
            [f"The recipe `{self.name}` sets its own values; {no_effect(*replaced)}."] if replaced else []
        )
        if self.cache is not None:
            remarks.append(
                f"The recipe `{self.name}` skips passes by a step cache: a retry starts from the beginning."
            )
        return remarks

    def scheduler_of(self, scheduler: Any, **settings: Any) -> Any:
        """Makes a scheduler of its own for a run. `settings` are those of the request."""
        own = dict(self.scheduler)
        kind = own.pop("class", None)
        made = type(scheduler) if kind is None else getattr(diffusers, kind)
        known = inspect.signature(made).parameters
        requested = {name: value for name, value in settings.items() if name in known}
        return made.from_config(scheduler.config, **{**requested, **own})

    @contextmanager
    def caching(self, networks: list[Any]) -> Iterator[None]:
        """Answers passes from the cache while it is open, if the recipe has one."""
        if self.cache is None:
            yield
            return
        try:
            for network in networks:
                network.enable_cache(self.cache)
            yield
        finally:
            for network in networks:
                if network.is_cache_enabled:
                    network.disable_cache()


NO_RECIPE = Recipe("")
"""The request's own settings."""


class Recipes:
    """
    The recipes of a model.

    :param always: the recipe of every request, if the endpoint has one
    """

    def __init__(self, recipes: Mapping[str, Recipe], always: str = "") -> None:
        if always and always not in recipes:
            raise ValueError(f"parameters.recipe of model.yaml: there is no recipe {always!r} in `recipes`")
        self._recipes = recipes
        self._always = recipes.get(always)

    @property
    def loras(self) -> list[Lora]:
        return [lora for recipe in self._recipes.values() for lora in recipe.loras]

    def choose(self, fields: Fields, accelerations: Sequence[str]) -> tuple[Recipe, list[str]]:
        """
        Reads `use_turbo` and `acceleration`. Returns the recipe, and what the caller should know about it.

        :param accelerations: the values of `acceleration`
        """
        turbo = fields.flag("use_turbo", False)
        acceleration = fields.choice("acceleration", "none", accelerations)
        accelerates = acceleration != "none"
        if self._always is not None:
            unused = [*(["use_turbo"] if turbo else []), *(["acceleration"] if accelerates else [])]
            remarks = list(self._always.remarks)
            if unused:
                told = f"This endpoint always has the recipe `{self._always.name}`; {no_effect(*unused)}."
                remarks.insert(0, told)
            return self._always, remarks
        if turbo:
            recipe = self._recipes.get("turbo")
            if recipe is None:
                message = "This model has no recipe `turbo`; leave `use_turbo` off."
                fields.fault(["use_turbo"], message, "feature_not_supported")
                return NO_RECIPE, []
            remarks = recipe.remarks
            if accelerates:
                remarks.insert(0, f"`use_turbo` selects a recipe; {no_effect('acceleration')}.")
            return recipe, remarks
        if not accelerates:
            return NO_RECIPE, []
        recipe = self._recipes.get(acceleration)
        if recipe is None:
            return NO_RECIPE, [f"This model computes every step; {no_effect('acceleration')}."]
        return recipe, recipe.remarks


def read_recipes(given: Mapping[str, Any], pipeline: Any, folder: Path) -> dict[str, Recipe]:
    """
    Reads recipes, and tries on the loaded pipeline what they need. Raises a `ValueError` that names every
    fault.
    """
    faults: list[str] = []
    recipes = {}
    for name, settings in given.items():
        if name not in NAMES:
            faults.append(f"{name}: there is no such recipe ({', '.join(NAMES)})")
            continue
        reading = _Reading(name, settings, pipeline, folder)
        recipes[name] = reading.recipe()
        faults += reading.faults
    if faults:
        raise ValueError(f"parameters.recipes of model.yaml: {'; '.join(faults)}")
    return recipes


class _Reading:
    """Reads one recipe, and collects its faults."""

    def __init__(self, name: str, settings: Any, pipeline: Any, folder: Path) -> None:
        self.faults: list[str] = []
        self._name = name
        self._pipeline = pipeline
        self._folder = folder
        self._settings: Mapping[str, Any] = settings if isinstance(settings, Mapping) else {}
        if not isinstance(settings, Mapping):
            self._fault("", "should be a mapping such as { steps: 4, guidanceScale: 1 }")
        for key in self._settings:
            if key not in Recipe.__dataclass_fields__ or key == "name":
                self._fault(f".{key}", "there is no such setting")

    def recipe(self) -> Recipe:
        return Recipe(
            self._name,
            steps=self._number("steps", 2, 1000, whole=True),
            guidanceScale=self._number("guidanceScale", 0, 100),
            guidanceScale2=self._number("guidanceScale2", 0, 100),
            scheduler=self._scheduler(),
            loras=tuple(self._loras()),
            cache=self._cache(),
        )

    def _fault(self, key: str, text: str) -> None:
        self.faults.append(f"{self._name}{key}: {text}")

    def _number(self, key: str, low: float, high: float, *, whole: bool = False) -> Any:
        value = self._settings.get(key)
        if value is None:
            return None
        fits = isinstance(value, int) or (isinstance(value, float) and not whole and math.isfinite(value))
        if isinstance(value, bool) or not fits or not low <= value <= high:
            kind = "an integer" if whole else "a number"
            self._fault(f".{key}", f"{value!r} should be {kind} from {low} to {high}")
            return None
        return value

    def _scheduler(self) -> Mapping[str, Any]:
        given = self._settings.get("scheduler", {})
        if not isinstance(given, Mapping):
            self._fault(".scheduler", "should be a mapping such as { shift: 5 }")
            return {}
        kind = given.get("class")
        if kind is not None and kind not in SCHEDULERS:
            self._fault(".scheduler.class", f"{kind!r} should be one of {', '.join(SCHEDULERS)}")
            return {}
        made = type(self._pipeline.scheduler) if kind is None else getattr(diffusers, kind)
        known = set(inspect.signature(made).parameters)
        unknown = set(given) - known - {"class"}
        for key in unknown:
            self._fault(f".scheduler.{key}", f"{made.__name__} has no such setting")
        if not unknown:
            self._try_scheduler(given)
        return given

    def _try_scheduler(self, given: Mapping[str, Any]) -> None:
        own = self._pipeline.scheduler
        try:
            scheduler = Recipe(self._name, scheduler=given).scheduler_of(own)
            if scheduler.config.get("use_dynamic_shifting"):
                # As pipelines of Qwen-Image do, with noise levels of their own.
                scheduler.set_timesteps(sigmas=[1.0, 0.5], mu=0.5)
            else:
                scheduler.set_timesteps(2)
        except Exception as error:
            self._fault(".scheduler", f"this model cannot have it: {reason_of(error)}")
            return
        if hasattr(own, "scale_noise") and not hasattr(scheduler, "scale_noise"):
            self._fault(".scheduler.class", "it cannot add noise to an image, which this model's own can")

    def _loras(self) -> Iterator[Lora]:
        given = self._settings.get("loras", [])
        if not isinstance(given, list):
            self._fault(".loras", "should be a list such as [{ file: loras/turbo.safetensors }]")
            return
        for index, item in enumerate(given):
            key = f".loras[{index}]"
            if not isinstance(item, Mapping) or set(item) - {"file", "scale", "transformer"}:
                self._fault(key, "should be { file, scale, transformer }")
                continue
            scale, wanted = item.get("scale", 1.0), item.get("transformer", "high")
            if not is_scale(scale):
                self._fault(f"{key}.scale", f"{scale!r} should be a number from 0 to {SCALE_MAX:g}")
                continue
            if not is_expert(wanted):
                self._fault(f"{key}.transformer", f"{wanted!r} should be one of {', '.join(NETWORKS)}")
                continue
            file = self._file(key, item.get("file"))
            if file is not None:
                yield Lora(index, file, float(scale), networks_for(self._pipeline, wanted))

    def _file(self, key: str, name: Any) -> InputFile | None:
        # The file may be a link to weights that lie elsewhere, as other files of the folder may.
        named = PurePosixPath(name) if isinstance(name, str) else PurePosixPath()
        path = self._folder / named
        is_inside = not named.is_absolute() and ".." not in named.parts
        if not is_inside or named.suffix != ".safetensors" or not path.is_file():
            self._fault(f"{key}.file", f"{name!r} should name a .safetensors file in the model's folder")
            return None
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        return InputFile(path, LORA_TYPE, path.stat().st_size, digest)

    def _cache(self) -> Any:
        given = self._settings.get("cache")
        if given is None:
            return None
        if not isinstance(given, Mapping) or given.get("kind") not in CACHES:
            self._fault(".cache", f"should have a kind: one of {', '.join(CACHES)}")
            return None
        settings = {key: value for key, value in given.items() if key != "kind"}
        networks = networks_of(self._pipeline)
        try:
            config = getattr(diffusers, CACHES[given["kind"]])(**settings)
            with Recipe(self._name, cache=config).caching(networks):
                return config
        except Exception as error:
            self._fault(".cache", f"this model cannot have it: {reason_of(error)}")
            return None
