import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tempera_engine import Model

from tempera_diffusers.engine import DiffusersEngine
from tempera_diffusers.parameters import Parameters


def load(folder: Path, runner: str = "text-to-image", **parameters: Any) -> list[tuple[float, str]]:
    reports: list[tuple[float, str]] = []
    model = Model("acme/tiny", "1.0.0", runner, folder, {"device": "cpu", "threads": 1, **parameters})
    DiffusersEngine().load(model, lambda fraction, loaded: reports.append((fraction, loaded)))
    return reports


@pytest.fixture
def copy(pipeline_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a pipeline folder, to be damaged."""
    return Path(shutil.copytree(pipeline_folder("text-to-image"), tmp_path / "model"))


def test_reports_the_progress_of_a_load(copy: Path) -> None:
    fractions = [fraction for fraction, _ in load(copy)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_refuses_a_folder_without_an_index(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no model_index.json"):
        load(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[]", "not json", '{"_class_name": '])
def test_refuses_an_index_without_a_class(copy: Path, content: str) -> None:
    (copy / "model_index.json").write_text(content)
    with pytest.raises(ValueError, match="has no `_class_name`"):
        load(copy)


def test_refuses_a_pipeline_that_the_engine_cannot_call(copy: Path) -> None:
    (copy / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(
        ValueError,
        match="names StableDiffusionPipeline; this engine has "
        "QwenImagePipeline, .*, WanPipeline, WanImageToVideo",
    ):
        load(copy)


def test_refuses_a_runner_that_the_pipeline_does_not_serve(copy: Path) -> None:
    with pytest.raises(
        ValueError,
        match="QwenImagePipeline serves the runner text-to-image and image-to-image, "
        "but model.yaml names wan_video",
    ):
        load(copy, "wan_video")


def test_names_a_missing_component(copy: Path) -> None:
    shutil.rmtree(copy / "vae")
    with pytest.raises(FileNotFoundError, match="names vae; there is no such folder"):
        load(copy)


@pytest.mark.parametrize("damage", ["cut short", "gone", "config", "shape"])
def test_refuses_weights_that_cannot_be_read(copy: Path, damage: str) -> None:
    weights = next((copy / "transformer").glob("*.safetensors"))
    match damage:
        case "cut short":
            weights.write_bytes(weights.read_bytes()[:1000])
        case "gone":
            weights.unlink()
        case "config":
            (copy / "transformer" / "config.json").write_text("{")
        case "shape":
            config = json.loads((copy / "transformer" / "config.json").read_text())
            (copy / "transformer" / "config.json").write_text(
                json.dumps({**config, "num_attention_heads": 4})
            )
    with pytest.raises(ValueError, match="^The pipeline cannot be loaded: [^\n]+$"):
        load(copy)


def test_does_not_read_weights_that_could_contain_code(copy: Path) -> None:
    import torch
    from safetensors.torch import load_file

    weights = next((copy / "transformer").glob("*.safetensors"))
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(ValueError, match="cannot be loaded"):
        load(copy)


def test_reports_a_missing_device(copy: Path) -> None:
    with pytest.raises(
        ValueError,
        match="device is cuda:99, and torch sees \\d+ CUDA devices; check the driver and CUDA_VISIBLE",
    ):
        load(copy, device="cuda:99")


def test_reports_all_faulty_parameters_together() -> None:
    wrong = {
        "device": "tpu",
        "dtype": "float8",
        "offload": "some",
        "vaeTiling": 1,
        "threads": -1,
        "pixelsMax": "many",
        "recipes": "turbo",
        "recipe": 1,
        "safetyThreshold": 1,
        "resolutions": {"480p": [832]},
        "warmUp": ["square"],
        "dtipe": "float16",
    }
    with pytest.raises(ValueError) as raised:
        Parameters.parse(wrong)
    for name in wrong:
        assert f"{name}: " in str(raised.value)


@pytest.mark.parametrize(
    ("worker", "given", "device"),
    [
        ("cpu", {}, "cpu"),
        ("cuda:1", {}, "cuda:1"),
        ("tensorrt:2", {}, "cuda:2"),
        ("cuda:1", {"device": "cpu"}, "cpu"),
        ("cpu", {"device": "cuda"}, "cuda"),
    ],
)
def test_uses_the_device_of_the_worker_unless_the_manifest_names_one(
    worker: str, given: dict[str, Any], device: str
) -> None:
    assert Parameters.parse(given, worker).device == device


def test_reads_the_device_of_the_worker_from_the_environment(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPERA_DEVICE", "cuda:98")
    with pytest.raises(ValueError, match="device is cuda:98"):
        DiffusersEngine().load(Model("acme/tiny", "1.0.0", "text-to-image", copy), lambda *_: None)


def test_refuses_offload_without_a_gpu() -> None:
    with pytest.raises(ValueError, match="offload: 'model' should be none on this device"):
        Parameters.parse({"device": "cpu", "offload": "model"})


def test_gives_another_dtype_another_checkpoint_format(copy: Path) -> None:
    formats = []
    for dtype in ("float32", "bfloat16"):
        engine = DiffusersEngine()
        engine.load(
            Model(
                "acme/tiny", "1.0.0", "text-to-image", copy, {"device": "cpu", "threads": 1, "dtype": dtype}
            ),
            lambda *_: None,
        )
        formats.append(engine.checkpoint_format)
    assert len(set(formats)) == 2
