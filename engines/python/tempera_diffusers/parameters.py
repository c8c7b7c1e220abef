"""`parameters:` in the manifest of a model that this engine runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

DTYPES = ("bfloat16", "float16", "float32")
OFFLOADS = ("none", "model", "sequential")
STORAGES = ("float8_e4m3fn", "float8_e5m2")


@dataclass(frozen=True)
class Parameters:
    device: str = "cpu"
    """`cuda`, `cuda:1`, `mps` or `cpu`. Default: the device of the GPU worker."""
    dtype: str = ""
    """Type of the networks: `bfloat16`, `float16`, `float32`. Default: bfloat16; float32 on a CPU."""
    vaeDtype: str = ""
    """Type of the autoencoder. Default: float32 for Wan, whose decoder loses detail in less; else `dtype`."""
    offload: str = "none"
    """
    Parts that are kept in host memory while they are not used. `model`: whole networks, so the device holds
    the largest one; `sequential`: single layers, which takes a few GB of device memory and is many times
    slower; `none`.
    """
    vaeTiling: bool = False
    """Decode in tiles: less memory for large images, at the risk of faint seams."""
    weightStorage: str = ""
    """
    Type in which the denoising networks' weights are stored while they compute in `dtype`: `float8_e4m3fn` or
    `float8_e5m2`, for half the memory. Default: `dtype`.
    """
    attention: str = ""
    """Attention backend of diffusers, such as `_native_cudnn` or `_flash_3`. Default: that of torch."""
    compile: bool = False
    """Compile the repeated blocks of the denoising networks. `warmUp` then pays for it at the load."""
    threads: int = 0
    """CPU threads, on a CPU. Set it so that the same seed gives the same bytes. 0: the default of torch."""
    pixelsMax: int = 2048 * 2048
    """Largest image that may be requested, in pixels. For videos, `resolutions` is the limit."""
    lorasKeptMiB: int = 4096
    """
    LoRA weights of requests that stay loaded, in MiB of their files; the least recently used are dropped.
    """
    recipes: Mapping[str, Any] = field(default_factory=dict)
    """Settings that `use_turbo` (`turbo`) and `acceleration` (`regular`, `high`) select: see `Recipe`."""
    recipe: str = ""
    """The recipe of every request, for endpoints such as `…/turbo`."""
    safetyThreshold: float = 0.5
    """Score from 0 to 1 above which the safety checker takes an image for unsafe."""
    resolutions: Mapping[str, list[int]] = field(
        default_factory=lambda: {"480p": [832, 480], "580p": [1024, 576], "720p": [1280, 720]}
    )
    """Longer and shorter side of videos at 16:9, in pixels. Other aspect ratios have about as many pixels."""
    warmUp: Sequence[Mapping[str, Any]] = ()
    """
    Inputs that are run at load, so that no caller waits for what happens once for each size. What they leave
    out has a value of its own: two steps, a short prompt, a square image.
    """

    @property
    def objection_to_loras(self) -> str:
        """Reason why adapters cannot be loaded beside these settings; empty when they can."""
        if self.compile:
            return "its networks are compiled"
        if self.weightStorage:
            return f"its weights are stored as {self.weightStorage}"
        if self.offload == "sequential":
            return "its layers are offloaded one by one"
        return ""

    @staticmethod
    def parse(given: Mapping[str, Any], worker_device: str = "cpu") -> "Parameters":
        """
        Reads and checks the parameters. Raises a `ValueError` that names every fault.

        :param worker_device: `cpu`, `cuda:<n>` or `tensorrt:<n>`, as in TEMPERA_DEVICE; `tensorrt:<n>` is
            taken for `cuda:<n>`
        """
        known = Parameters.__dataclass_fields__
        faults = [
            f"{name}: there is no such parameter ({', '.join(known)})" for name in given if name not in known
        ]
        defaults = {"device": worker_device.replace("tensorrt", "cuda")}
        merged = Parameters(**{**defaults, **{name: value for name, value in given.items() if name in known}})

        def demand(name: str, fits: bool, wanted: str) -> None:
            if not fits:
                faults.append(f"{name}: {getattr(merged, name)!r} should be {wanted}")

        base = str(merged.device).split(":")
        demand(
            "device",
            base[0] in ("cuda", "mps", "cpu") and all(part.isdigit() for part in base[1:]),
            "cuda, cuda:<number>, mps or cpu",
        )
        demand("dtype", merged.dtype in ("", *DTYPES), f"one of {', '.join(DTYPES)}")
        demand("vaeDtype", merged.vaeDtype in ("", *DTYPES), f"one of {', '.join(DTYPES)}")
        demand("offload", merged.offload in OFFLOADS, f"one of {', '.join(OFFLOADS)}")
        demand(
            "offload",
            merged.offload == "none" or base[0] == "cuda",
            "none on this device: it moves networks between host and GPU",
        )
        demand("vaeTiling", isinstance(merged.vaeTiling, bool), "true or false")
        demand("weightStorage", merged.weightStorage in ("", *STORAGES), f"one of {', '.join(STORAGES)}")
        demand("attention", isinstance(merged.attention, str), "the name of a backend of diffusers")
        demand("compile", isinstance(merged.compile, bool), "true or false")
        demand("threads", _is_integer(merged.threads, 0, 1024), "an integer from 0 to 1024")
        demand("pixelsMax", _is_integer(merged.pixelsMax, 1024, 2**28), f"an integer from 1024 to {2**28}")
        demand("lorasKeptMiB", _is_integer(merged.lorasKeptMiB, 0, 2**30), "an integer from 0")
        demand("recipes", isinstance(merged.recipes, Mapping), "a mapping such as turbo: { steps: 4 }")
        demand("recipe", isinstance(merged.recipe, str), "the name of a recipe")
        demand(
            "safetyThreshold",
            isinstance(merged.safetyThreshold, int | float) and 0 < merged.safetyThreshold < 1,
            "a number between 0 and 1",
        )
        demand("resolutions", _are_resolutions(merged.resolutions), "a mapping such as 480p: [832, 480]")
        demand("warmUp", _are_inputs(merged.warmUp), "a list of inputs such as { image_size: square_hd }")
        for name, recipe in merged.recipes.items() if isinstance(merged.recipes, Mapping) else ():
            given_settings = recipe if isinstance(recipe, Mapping) else {}
            if given_settings.get("loras") and merged.objection_to_loras:
                faults.append(f"recipes.{name}.loras: not for this model, since {merged.objection_to_loras}")
            if given_settings.get("cache") and merged.compile:
                faults.append(f"recipes.{name}.cache: not together with compile")
        if faults:
            raise ValueError(f"parameters of model.yaml: {'; '.join(faults)}")
        return merged


def _is_integer(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _are_resolutions(value: Any) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    return all(
        isinstance(sides, list) and len(sides) == 2 and all(_is_integer(side, 16, 16384) for side in sides)
        for sides in cast(Mapping[str, Any], value).values()
    )


def _are_inputs(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(given, Mapping) for given in value)
