"""The engine: its pipelines, loading one of them, running it."""

import os
import sys
from typing import Any, Protocol

from tempera_engine import Capabilities, Engine, Memory, Model, Progress, Run
from tempera_engine.memory import host_memory


class LoadedPipeline(Protocol):
    """A loaded pipeline of one kind, which runs the inputs of fal's endpoints of that kind."""

    def run(self, run: Run) -> dict[str, Any]: ...


class DiffusersEngine(Engine):
    def __init__(self) -> None:
        self._loaded: LoadedPipeline | None = None
        self._pipeline: Any = None
        self._device: Any = None
        self._memory: Any = None
        self._is_resident = True

    def describe(self) -> Capabilities:
        return Capabilities(
            runners=["text-to-image", "image-to-image", "wan_video"],
            artifact_types=["image/png", "image/jpeg", "image/webp", "video/mp4"],
            # A pipeline of diffusers holds the state of its run, so it has one run at a time.
            max_batch=1,
            supports_checkpoint=True,
        )

    def load(self, model: Model, progress: Progress) -> None:
        # torch, diffusers and transformers take seconds to import. They must stay silent and never download a
        # file.
        os.environ.update(
            {"DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
        )
        try:
            from .device_memory import DeviceMemory
            from .image.image_edit import ImageEdit, ImageEditPlus
            from .image.image_to_image import ImageToImage
            from .image.text_to_image import TextToImage
            from .parameters import Parameters
            from .pipeline_folder import load_pipeline
            from .recipes import Recipes, read_recipes
            from .wan_video import WanVideo
        except ModuleNotFoundError as missing:
            raise ModuleNotFoundError(
                f"{sys.executable} has no package {missing.name}; install "
                "engines/python/requirements.txt into it, or set TEMPERA_PYTHON to a Python that has it."
            ) from None

        # Maps `_class_name` of model_index.json to the runners that it serves, with the class that calls it.
        qwen_image = {"text-to-image": TextToImage, "image-to-image": ImageToImage}
        kinds: dict[str, dict[str, Any]] = {
            "QwenImagePipeline": qwen_image,
            "QwenImageImg2ImgPipeline": qwen_image,
            "QwenImageInpaintPipeline": qwen_image,
            "QwenImageEditPipeline": {"image-to-image": ImageEdit},
            "QwenImageEditInpaintPipeline": {"image-to-image": ImageEdit},
            "QwenImageEditPlusPipeline": {"image-to-image": ImageEditPlus},
            "WanPipeline": {"wan_video": WanVideo},
            "WanImageToVideoPipeline": {"wan_video": WanVideo},
        }
        parameters = Parameters.parse(model.parameters, os.environ.get("TEMPERA_DEVICE") or "cpu")
        loaded = load_pipeline(model.folder, parameters, kinds, model.runner, progress)
        self.checkpoint_format = loaded.checkpoint_format
        self._pipeline, self._device = loaded.pipeline, loaded.device
        self._memory = DeviceMemory(loaded.device)
        self._is_resident = parameters.offload == "none"
        recipes = Recipes(
            read_recipes(parameters.recipes, loaded.pipeline, model.folder), parameters.recipe
        )
        self._loaded = kinds[loaded.class_name][model.runner](loaded.pipeline, parameters, recipes)

    def run(self, run: Run) -> dict[str, Any]:
        from .cancel_points import cancelled_by
        from .device_faults import fault_of, require_device
        from .memory_tries import run_within_memory

        loaded = self._loaded
        if loaded is None:
            raise RuntimeError("Nothing is loaded.")
        require_device(self._device)
        try:
            with self._memory.measured(), cancelled_by(run):
                return run_within_memory(
                    run,
                    self._pipeline,
                    self._device,
                    resident=self._is_resident,
                    work=lambda: loaded.run(run),
                )
        except Exception as error:
            fault = fault_of(error, self._device)
            if fault is None:
                raise
            raise fault from error

    def memory(self) -> Memory:
        return host_memory() if self._memory is None else self._memory.report()
