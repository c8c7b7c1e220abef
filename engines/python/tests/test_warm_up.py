import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
from conftest import PARAMETERS
from tempera_engine import Engine, Model

from tempera_diffusers.engine import DiffusersEngine


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Records the calls of all pipelines."""
    made: list[dict[str, Any]] = []
    for name in ("QwenImagePipeline", "WanPipeline", "WanImageToVideoPipeline"):
        pipeline_class = getattr(diffusers, name)
        own = pipeline_class.__call__

        def recorded(self: Any, *args: Any, own: Any = own, **given: Any) -> Any:
            made.append({"class": type(self).__name__, **given})
            return own(self, *args, **given)

        monkeypatch.setattr(pipeline_class, "__call__", recorded)
    return made


@pytest.fixture
def load_warm(pipeline_folder: Callable[[str], Path]) -> Callable[[str, list[Any]], Engine]:
    def load(kind: str, warm_up: list[Any]) -> Engine:
        runner = "text-to-image" if kind == "text-to-image" else "wan_video"
        engine = DiffusersEngine()
        parameters = {**PARAMETERS, "warmUp": warm_up}
        engine.load(Model("acme/tiny", "1.0.0", runner, pipeline_folder(kind), parameters), lambda *_: None)
        return engine

    return load


def test_runs_the_inputs_of_the_manifest_before_the_first_request(
    load_warm: Any, calls: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tempera_diffusers")
    sizes: list[Any] = [{"width": 64, "height": 48}, {"width": 80, "height": 64}]
    load_warm("text-to-image", [{"image_size": size} for size in sizes])
    made = [(call["width"], call["height"], call["num_inference_steps"]) for call in calls]
    # Two steps, unless the input says otherwise.
    assert made == [(64, 48, 2), (80, 64, 2)]
    assert len([record for record in caplog.records if "Warmed up" in record.message]) == 2


def test_computes_what_it_computes_without_a_warm_up(load_warm: Any, load: Any, runs: Any) -> None:
    input_value = {"prompt": "a star", "image_size": {"width": 64, "height": 48}, "num_inference_steps": 3}
    warm = load_warm("text-to-image", [{"image_size": {"width": 80, "height": 64}, "seed": 5}])
    assert runs(warm, input_value).digests == runs(load("text-to-image"), input_value).digests


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        ("text-to-video", ["WanPipeline"]),
        ("image-to-video", ["WanImageToVideoPipeline"]),
        ("text-and-image-to-video", ["WanPipeline", "WanImageToVideoPipeline"]),
    ],
)
def test_warms_up_each_pipeline_of_a_video_model(
    load_warm: Any, calls: list[dict[str, Any]], kind: str, classes: list[str]
) -> None:
    warm_up = {"num_frames": 17, "resolution": "480p", "aspect_ratio": "9:16", "num_inference_steps": 3}
    load_warm(kind, [warm_up])
    height = 32 if kind == "text-and-image-to-video" else 48
    assert [call["class"] for call in calls] == classes
    for call in calls:
        assert (call["num_frames"], call["num_inference_steps"]) == (17, 3)
        assert {call["width"], call["height"]} == {height, 64}


@pytest.mark.parametrize(
    ("kind", "warm_up", "message"),
    [
        (
            "text-to-image",
            [{"image_size": "enormous", "seed": "x"}],
            r"warmUp\[0\] of model.yaml is refused: image_size: .*; seed: Input should be a valid integer",
        ),
        ("text-to-video", [{}, {"num_frames": 5}], r"warmUp\[1\] of model.yaml is refused: num_frames: "),
        ("text-to-image", [{"image_sice": "square"}], "of model.yaml is refused: `image_sice` is a field"),
    ],
)
def test_refuses_an_input_that_a_request_could_not_have(
    load_warm: Any, kind: str, warm_up: list[Any], message: str
) -> None:
    small = {"num_frames": 17, "resolution": "480p"} if kind == "text-to-video" else {}
    with pytest.raises(ValueError, match=message):
        load_warm(kind, [{**small, **given} for given in warm_up])
