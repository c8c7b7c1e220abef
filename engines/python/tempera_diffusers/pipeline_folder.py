"""
Loads a pipeline folder: `model_index.json` and the component folders that it names, as `save_pretrained` of
diffusers writes them.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from tempera_engine import Progress

from .cancel_points import add_cancel_points
from .image.vision_processor import VisionProcessor
from .parameters import Parameters
from .reasons import reason_of
from .speed import prepare


@dataclass(frozen=True)
class LoadedFolder:
    pipeline: Any
    class_name: str
    device: torch.device
    checkpoint_format: str
    """Two processes with the same text compute the same results."""


def load_pipeline(
    folder: Path,
    parameters: Parameters,
    classes: Mapping[str, Collection[str]],
    runner: str,
    progress: Progress,
) -> LoadedFolder:
    """
    Loads a pipeline from disk alone, and weights from safetensors files only, which contain no code.

    Raises `ValueError` or `OSError` with a sentence for the operator.

    :param classes: maps the pipeline classes that this engine can call to their runners
    """
    class_name = _read_class(folder)
    if class_name not in classes:
        raise ValueError(f"model_index.json names {class_name}; this engine has {', '.join(classes)}.")
    if runner not in classes[class_name]:
        served = " and ".join(classes[class_name])
        raise ValueError(f"{class_name} serves the runner {served}, but model.yaml names {runner}.")
    device = _open_device(parameters)
    dtype = parameters.dtype or ("float32" if device.type == "cpu" else "bfloat16")
    vae_dtype = parameters.vaeDtype or ("float32" if class_name.startswith("Wan") else dtype)
    if parameters.threads:
        torch.set_num_threads(parameters.threads)
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        # Their messages go to this process's log with their levels, instead of directly to stderr.
        library.utils.logging.disable_default_handler()
        library.utils.logging.enable_propagation()
    progress(0.1, "libraries")

    dtypes = {"default": getattr(torch, dtype), "vae": getattr(torch, vae_dtype)}
    try:
        pipeline = getattr(diffusers, class_name).from_pretrained(
            folder, dtype=dtypes, local_files_only=True, use_safetensors=True, **_vision_processor(folder)
        )
    except Exception as error:
        raise ValueError(f"The pipeline cannot be loaded: {reason_of(error)}") from error
    progress(0.8, "networks")

    if parameters.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif parameters.offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)
    if parameters.vaeTiling:
        pipeline.vae.enable_tiling()
    prepare(pipeline, parameters, device)
    pipeline.set_progress_bar_config(disable=True)
    add_cancel_points(pipeline)
    progress(1, f"onto {device}")
    libraries = (diffusers, transformers, torch)
    versions = ", ".join(f"{library.__name__} {library.__version__}" for library in libraries)
    knobs = [parameters.weightStorage, parameters.attention, "compiled" if parameters.compile else ""]
    format = " ".join([class_name, dtype, *filter(None, knobs), "vae", vae_dtype])
    return LoadedFolder(pipeline, class_name, device, f"{format}, {versions}")


def _read_class(folder: Path) -> str:
    index = folder / "model_index.json"
    if not index.is_file():
        raise FileNotFoundError(
            "There is no model_index.json; the package's folder must be a pipeline folder of diffusers."
        )
    try:
        content = json.loads(index.read_text())
        class_name = content["_class_name"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            "model_index.json has no `_class_name`; it should be as save_pretrained of diffusers writes it."
        ) from None
    components = [name for name, entry in content.items() if isinstance(entry, list) and entry[0] is not None]
    missing = [name for name in components if not (folder / name).is_dir()]
    if missing:
        raise FileNotFoundError(
            f"model_index.json names {', '.join(missing)}; there is no such folder beside it."
        )
    return str(class_name)


def _vision_processor(folder: Path) -> dict[str, Any]:
    """Reads the processor of a pipeline whose text encoder looks at images."""
    path = folder / "processor"
    if not path.is_dir():
        return {}
    return {"processor": VisionProcessor.from_pretrained(path, local_files_only=True)}


def _open_device(parameters: Parameters) -> torch.device:
    device = torch.device(parameters.device)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ValueError(
                f"The device is {parameters.device}, and torch sees {count} CUDA devices; "
                "check the driver and CUDA_VISIBLE_DEVICES, or choose cpu "
                "(TEMPERA_WORKER_DEVICE, or parameters.device of model.yaml)."
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(
            "The device is mps, which torch does not have here; set parameters.device of model.yaml to cpu."
        )
    return device
