"""The engine: its pipelines, loading one of them, running it."""

import os
import sys
from typing import Any, Protocol

from tempera_engine import Capabilities, Engine, EngineError, Memory, Model, Progress, Run
from tempera_engine.memory import MIB, host_memory


class LoadedPipeline(Protocol):
    """A loaded pipeline of one kind, which runs the inputs of fal's endpoints of that kind."""

    def run(self, run: Run) -> dict[str, Any]: ...


class DiffusersEngine(Engine):
    def __init__(self) -> None:
        self._loaded: LoadedPipeline | None = None
        self._device: Any = None

    def describe(self) -> Capabilities:
        return Capabilities(
            runners=["text-to-image", "wan_video"],
            artifact_types=["image/png", "image/jpeg", "video/mp4"],
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
            from .parameters import Parameters
            from .pipeline_folder import load_pipeline
            from .text_to_image import TextToImage
            from .wan_video import WanVideo
        except ModuleNotFoundError as missing:
            raise ModuleNotFoundError(
                f"{sys.executable} has no package {missing.name}; install "
                "engines/python/requirements.txt into it, or set TEMPERA_PYTHON to a Python that has it."
            ) from None

        # Maps `_class_name` of model_index.json to the runner that it serves and the class that calls it.
        kinds: dict[str, tuple[str, Any]] = {
            "QwenImagePipeline": ("text-to-image", TextToImage),
            "WanPipeline": ("wan_video", WanVideo),
            "WanImageToVideoPipeline": ("wan_video", WanVideo),
        }
        parameters = Parameters.parse(model.parameters, os.environ.get("TEMPERA_DEVICE") or "cpu")
        loaded = load_pipeline(
            model.folder,
            parameters,
            {name: runner for name, (runner, _) in kinds.items()},
            model.runner,
            progress,
        )
        self.checkpoint_format = loaded.checkpoint_format
        self._device = loaded.device
        self._loaded = kinds[loaded.class_name][1](loaded.pipeline, parameters)

    def run(self, run: Run) -> dict[str, Any]:
        import torch

        from .cancel_points import cancelled_by
        from .device_faults import fault_of, require_device

        if self._loaded is None:
            raise RuntimeError("Nothing is loaded.")
        require_device(self._device)
        try:
            with cancelled_by(run):
                return self._loaded.run(run)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise EngineError(
                "runner_server_error",
                "The device has too little memory for this request; ask for a smaller or shorter one.",
            ) from None
        except Exception as error:
            fault = fault_of(error, self._device)
            if fault is None:
                raise
            raise fault from error

    def memory(self) -> Memory:
        if self._device is None or self._device.type != "cuda":
            return host_memory()
        import torch

        _, total = torch.cuda.mem_get_info(self._device)
        return Memory(
            total_mib=total // MIB, used_mib=max(1, torch.cuda.memory_reserved(self._device) // MIB)
        )
