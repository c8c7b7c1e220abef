import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from conftest import PARAMETERS
from judged import EVERY_STEP
from PIL import Image
from tempera_engine import EngineError, InputFile, InputInvalid, Model

from tempera_diffusers.engine import DiffusersEngine

INPUT = {
    "prompt": "a red circle moves to the left",
    "negative_prompt": "blurry",
    "num_frames": 17,
    "frames_per_second": 8,
    "resolution": "480p",
    "num_inference_steps": 6,
    "guidance_scale": 3.5,
    "guidance_scale_2": 4.0,
    "shift": 5,
    "seed": 7,
    "interpolator_model": "none",
    "num_interpolated_frames": 0,
}

ABSENT = object()
"""Stands for a field that is left out."""


@pytest.fixture(scope="module")
def text_engine(load: Any) -> Any:
    return load("text-to-video")


@pytest.fixture(scope="module")
def image_engine(load: Any) -> Any:
    return load("image-to-video")


@pytest.fixture(scope="module")
def both_engine(load: Any) -> Any:
    return load("text-and-image-to-video")


def input_file(path: Path, data: bytes, content_type: str = "image/png") -> InputFile:
    path.write_bytes(data)
    return InputFile(path, content_type, len(data), hashlib.sha256(data).hexdigest())


def image_bytes(color: str, width: int = 64, height: int = 48) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), color).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def red(tmp_path: Path) -> InputFile:
    return input_file(tmp_path / "red.png", image_bytes("red"))


@pytest.fixture
def blue(tmp_path: Path) -> InputFile:
    return input_file(tmp_path / "blue.png", image_bytes("blue"))


IMAGE_INPUT = {**INPUT, "image_url": "attachment:0", "aspect_ratio": "auto"}


def probe(data: bytes) -> dict[str, Any]:
    with av.open(io.BytesIO(data), "r") as file:
        stream = file.streams.video[0]
        frames = len(list(file.decode(stream)))
        return {
            "codec": stream.codec_context.name,
            "pixels": stream.codec_context.pix_fmt,
            "size": (stream.width, stream.height),
            "fps": stream.average_rate,
            "frames": frames,
            # faststart: the index comes before the data.
            "index_first": data.index(b"moov") < data.index(b"mdat"),
        }


def decoded(data: bytes) -> Any:
    """Returns the frames of a video: [frames, height, width, 3]."""
    with av.open(io.BytesIO(data), "r") as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    return np.stack(frames).astype(int)


@pytest.fixture
def steps_by_expert(text_engine: Any) -> Any:
    """Counts the calls of each of the two networks while the test runs."""
    pipeline = text_engine._loaded._pipeline
    counts = {"transformer": 0, "transformer_2": 0}

    def count(name: str) -> Any:
        def hook(*_: Any) -> None:
            counts[name] += 1

        return hook

    hooks = [getattr(pipeline, name).register_forward_pre_hook(count(name)) for name in counts]
    yield counts
    for hook in hooks:
        hook.remove()


def test_makes_the_requested_video_from_text(text_engine: Any, runs: Any) -> None:
    ran = runs(text_engine, INPUT)
    assert ran.output == {"video": {"$artifact": 0}, "prompt": INPUT["prompt"], "seed": 7}
    assert ran.steps == [1, 2, 3, 4, 5, 6]
    expected = {"pixels": "yuv420p", "size": (64, 48), "fps": 8, "frames": 17, "index_first": True}
    assert probe(ran.files[0]) == {"codec": "h264", **expected}


def test_reverses_the_video(text_engine: Any, runs: Any) -> None:
    forward, backward = [
        decoded(runs(text_engine, {**INPUT, "video_quality": "maximum", "reverse_video": reverses}).files[0])
        for reverses in (False, True)
    ]
    # Noise is compressed with losses: a frame is closer to its own copy than to any other frame.
    distances = np.abs(forward[:, None] - backward[None]).mean(axis=(2, 3, 4))
    assert list(distances.argmin(axis=1)) == list(reversed(range(17)))


@pytest.mark.parametrize(("requested", "rendered"), [(18, 21), (20, 21), (21, 21)])
def test_gives_exactly_the_requested_number_of_frames(
    text_engine: Any, runs: Any, requested: int, rendered: int
) -> None:
    ran = runs(text_engine, {**INPUT, "num_frames": requested, "num_inference_steps": 2})
    assert probe(ran.files[0])["frames"] == requested
    messages = [message for _, message in ran.logs]
    cut = f"Rendered {rendered} frames; the video has the first {requested} of them."
    assert messages == ([] if requested == rendered else [cut])


@pytest.mark.parametrize(
    ("change", "size"),
    [
        ({"aspect_ratio": "9:16"}, (48, 64)),
        ({"aspect_ratio": "1:1"}, (48, 48)),
        ({"resolution": "720p"}, (96, 64)),
    ],
)
def test_follows_aspect_ratio_and_resolution(
    text_engine: Any, runs: Any, change: dict[str, Any], size: tuple[int, int]
) -> None:
    assert probe(runs(text_engine, {**INPUT, **change, "num_inference_steps": 2}).files[0])["size"] == size


def test_divides_the_steps_between_the_experts_at_the_boundary(
    text_engine: Any, runs: Any, steps_by_expert: dict[str, int]
) -> None:
    runs(text_engine, INPUT)
    # σ of six steps at shift 5: 1, 0.96, 0.91, 0.83, 0.71, 0.5; the first three are above the boundary of
    # 0.875. Two calls each.
    assert steps_by_expert == {"transformer": 6, "transformer_2": 6}


def test_gives_the_second_expert_more_steps_at_a_smaller_shift(
    text_engine: Any, runs: Any, steps_by_expert: dict[str, int]
) -> None:
    runs(text_engine, {**INPUT, "shift": 1})
    assert steps_by_expert["transformer"] < steps_by_expert["transformer_2"]


def test_passes_the_fields_to_the_pipeline(text_engine: Any, runs: Any) -> None:
    plain = runs(text_engine, INPUT).digests
    assert runs(text_engine, INPUT).digests == plain
    for change in (
        {"seed": 8},
        {"prompt": "a star"},
        {"negative_prompt": "sharp"},
        {"guidance_scale": 5},
        {"guidance_scale_2": 7},
        {"shift": 3},
        {"video_quality": "low"},
    ):
        assert runs(text_engine, {**INPUT, **change}).digests != plain, change


def test_logs_the_defaults_of_fal_that_it_does_not_support(text_engine: Any, runs: Any) -> None:
    ran = runs(
        text_engine,
        {
            "prompt": "a star",
            "num_frames": 17,
            "num_inference_steps": 2,
            "resolution": "480p",
            "enable_prompt_expansion": True,
            "acceleration": "regular",
        },
    )
    assert [message for _, message in ran.logs] == [
        "This model computes every step; `acceleration` has no effect.",
        "This engine does not interpolate; `interpolator_model`, `num_interpolated_frames` and "
        "`adjust_fps_for_interpolation` have no effect: the video has 17 frames, 16 a second.",
        "This engine does not expand prompts; `enable_prompt_expansion` has no effect.",
    ]


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (
            "text-to-video",
            {"guidance_scale": 1},
            "A `guidance_scale` of 1 switches guidance off; `negative_prompt` and `guidance_scale_2` have no "
            "effect.",
        ),
        (
            "text-to-video",
            {"guidance_scale": 1, "guidance_scale_2": ABSENT, "negative_prompt": ""},
            None,
        ),
        (
            "text-and-image-to-video",
            {},
            "This model has a single expert; `guidance_scale_2` has no effect.",
        ),
        (
            "text-to-video",
            {"prompt": "a" * 512},
            "This model reads 512 tokens of `prompt`, which is longer: its end is cut off.",
        ),
        ("text-to-video", {"prompt": "a" * 510}, None),
        (
            "text-to-video",
            {"negative_prompt": "a" * 512},
            "This model reads 512 tokens of `negative_prompt`, which is longer: its end is cut off.",
        ),
    ],
)
def test_tells_what_has_no_effect(
    load: Any, runs: Any, kind: str, change: dict[str, Any], message: str | None
) -> None:
    changed = {**INPUT, "num_inference_steps": 2, **change}
    ran = runs(load(kind), {name: value for name, value in changed.items() if value is not ABSENT})
    assert [message for _, message in ran.logs] == ([] if message is None else [message])


def test_makes_a_video_with_the_aspect_ratio_of_the_image(
    image_engine: Any, runs: Any, tmp_path: Path
) -> None:
    tall = input_file(tmp_path / "tall.png", image_bytes("red", 60, 120))
    ran = runs(image_engine, IMAGE_INPUT, files=[tall])
    width, height = probe(ran.files[0])["size"]
    assert (width, height) == (32, 64)
    assert probe(ran.files[0])["frames"] == 17


def test_uses_both_the_first_and_the_last_image(
    image_engine: Any, runs: Any, red: InputFile, blue: InputFile
) -> None:
    first = runs(image_engine, IMAGE_INPUT, files=[red])
    assert runs(image_engine, IMAGE_INPUT, files=[red]).digests == first.digests
    assert runs(image_engine, IMAGE_INPUT, files=[blue]).digests != first.digests
    both = runs(image_engine, {**IMAGE_INPUT, "end_image_url": "attachment:1"}, files=[red, blue])
    assert both.digests != first.digests


def test_serves_images_with_the_folder_that_is_published_as_a_text_to_video_pipeline(
    both_engine: Any, runs: Any, red: InputFile, blue: InputFile
) -> None:
    first = runs(both_engine, IMAGE_INPUT, files=[red])
    assert probe(first.files[0])["frames"] == 17
    assert runs(both_engine, IMAGE_INPUT, files=[red]).digests == first.digests
    assert runs(both_engine, IMAGE_INPUT, files=[blue]).digests != first.digests


def test_serves_texts_with_the_same_folder(both_engine: Any, runs: Any, red: InputFile) -> None:
    plain = runs(both_engine, INPUT)
    assert probe(plain.files[0])["size"] == (64, 32)
    image = {**IMAGE_INPUT, "aspect_ratio": "16:9"}
    assert runs(both_engine, image, files=[red]).digests != plain.digests
    assert runs(both_engine, INPUT).digests == plain.digests


def test_serves_both_with_a_folder_that_names_the_other_class(
    pipeline_folder: Any, runs: Any, tmp_path: Path, red: InputFile, both_engine: Any
) -> None:
    folder = Path(shutil.copytree(pipeline_folder("text-and-image-to-video"), tmp_path / "model"))
    index = json.loads((folder / "model_index.json").read_text())
    none = {"image_encoder": [None, None], "image_processor": [None, None]}
    index.update({"_class_name": "WanImageToVideoPipeline", **none})
    (folder / "model_index.json").write_text(json.dumps(index))
    engine = DiffusersEngine()
    engine.load(Model("acme/tiny", "1.0.0", "wan_video", folder, PARAMETERS), lambda *_: None)
    for input_value, files in ((INPUT, []), (IMAGE_INPUT, [red])):
        expected = runs(both_engine, input_value, files=files).digests
        assert runs(engine, input_value, files=files).digests == expected


def test_holds_one_copy_of_the_weights_for_texts_and_images(both_engine: Any) -> None:
    pipelines = both_engine._loaded._pipelines
    assert set(pipelines) == {"text", "image"}
    for name in ("transformer", "vae", "text_encoder"):
        assert getattr(pipelines["text"], name) is getattr(pipelines["image"], name)


@pytest.mark.parametrize(
    ("kind", "fields", "faulty"),
    [
        ("text-to-video", ["image_url"], ["image_url"]),
        ("text-to-video", ["image_url", "end_image_url"], ["image_url", "end_image_url"]),
        ("text-to-video", ["end_image_url"], ["end_image_url"]),
        ("text-and-image-to-video", ["image_url", "end_image_url"], ["end_image_url"]),
        ("text-and-image-to-video", ["end_image_url"], ["end_image_url"]),
    ],
)
def test_refuses_an_image_that_the_pipeline_would_not_look_at(
    load: Any, runs: Any, red: InputFile, kind: str, fields: list[str], faulty: list[str]
) -> None:
    images = {name: f"attachment:{i}" for i, name in enumerate(fields)}
    with pytest.raises(InputInvalid) as raised:
        runs(load(kind), {**INPUT, **images}, files=[red] * len(fields))
    assert [(fault.loc, fault.type) for fault in raised.value.faults] == [
        ([name], "feature_not_supported") for name in faulty
    ]


@pytest.mark.parametrize(
    ("change", "loc", "type"),
    [
        ({"num_frames": 0}, "num_frames", "greater_than_equal"),
        ({"num_frames": 1_000_000}, "num_frames", "less_than_equal"),
        ({"frames_per_second": 0}, "frames_per_second", "greater_than_equal"),
        ({"resolution": "4k"}, "resolution", "literal_error"),
        ({"aspect_ratio": "auto"}, "aspect_ratio", "literal_error"),
        ({"shift": 0}, "shift", "greater_than_equal"),
        ({"guidance_scale_2": "strong"}, "guidance_scale_2", "float_type"),
        ({"num_inference_steps": 1}, "num_inference_steps", "greater_than_equal"),
        ({"video_quality": "best"}, "video_quality", "literal_error"),
        ({"loras": "all"}, "loras", "list_type"),
    ],
)
def test_refuses_a_bad_input_before_any_work(
    text_engine: Any, runs: Any, change: dict[str, Any], loc: str, type: str
) -> None:
    with pytest.raises(InputInvalid) as raised:
        runs(text_engine, {**INPUT, **change})
    assert [(fault.loc, fault.type) for fault in raised.value.faults] == [([loc], type)]


def test_refuses_an_input_without_an_image(image_engine: Any, runs: Any) -> None:
    with pytest.raises(InputInvalid) as raised:
        runs(image_engine, INPUT)
    assert [(fault.loc, fault.type) for fault in raised.value.faults] == [(["image_url"], "missing")]


def test_does_not_read_a_path_in_the_input(image_engine: Any, runs: Any) -> None:
    """Only files that were fetched for the engine are read."""
    with pytest.raises(InputInvalid) as raised:
        runs(image_engine, {**IMAGE_INPUT, "image_url": "/etc/passwd"})
    assert raised.value.faults[0].type == "missing"


def huge_png() -> bytes:
    """Makes a PNG whose header declares 30,000 × 30,000 pixels."""
    data = bytearray(image_bytes("red"))
    data[16:24] = (30_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "type"),
    [
        (b"this is a text file", "image_load_error"),
        (b"", "image_load_error"),
        (b"PK\x03\x04" + b"\0" * 5000, "image_load_error"),
        (image_bytes("red")[:60], "image_load_error"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "unsupported_image_format"),
        (huge_png(), "image_too_large"),
    ],
    ids=["text", "empty", "zip", "cut short", "postscript", "huge"],
)
@pytest.mark.parametrize("field", ["image_url", "end_image_url"])
def test_an_image_that_is_none(
    image_engine: Any, runs: Any, tmp_path: Path, red: InputFile, field: str, data: bytes, type: str
) -> None:
    bad = input_file(tmp_path / "bad.png", data)
    with pytest.raises(InputInvalid) as raised:
        runs(
            image_engine,
            {**IMAGE_INPUT, "image_url": "attachment:0", field: "attachment:1"},
            files=[red, bad],
        )
    assert [(fault.loc, fault.type) for fault in raised.value.faults] == [([field], type)]


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("text-to-video", "text"),
        ("image-to-video", "image"),
        ("text-and-image-to-video", "text"),
        ("text-and-image-to-video", "image"),
    ],
)
def test_resumes_from_any_step_to_the_same_video(
    load: Any, runs: Any, red: InputFile, kind: str, given: str
) -> None:
    engine = load(kind)
    input_value, files = (INPUT, []) if given == "text" else (IMAGE_INPUT, [red])
    whole = runs(engine, input_value, files=files, policy=EVERY_STEP)
    assert sorted(whole.checkpoints) == [1, 2, 3, 4, 5]
    for step, checkpoint in whole.checkpoints.items():
        rest = runs(engine, input_value, files=files, policy=EVERY_STEP, checkpoint=checkpoint)
        assert rest.steps == list(range(step + 1, 7))
        # The memory of the multistep scheduler is restored too, so the checkpoints are equal.
        assert rest.checkpoints == {later: whole.checkpoints[later] for later in range(step + 1, 6)}
        assert rest.digests == whole.digests


def test_ignores_a_checkpoint_of_another_image(
    image_engine: Any, runs: Any, red: InputFile, blue: InputFile
) -> None:
    checkpoint = runs(image_engine, IMAGE_INPUT, files=[red], policy=EVERY_STEP).checkpoints[3]
    again = runs(image_engine, IMAGE_INPUT, files=[blue], checkpoint=checkpoint)
    assert again.logs[0][0] == "WARN"
    assert again.digests == runs(image_engine, IMAGE_INPUT, files=[blue]).digests


def test_cancels_a_run_while_frames_are_decoded_and_goes_on(text_engine: Any, runs: Any) -> None:
    plain = runs(text_engine, INPUT).digests
    cancel: Any = None
    layers: list[int] = []

    def remember(run: Any, event: Any) -> None:
        nonlocal cancel
        cancel = run._cancel

    def decoding(*_: Any) -> None:
        layers.append(1)
        cancel()

    hook = text_engine._loaded._pipeline.vae.decoder.up_blocks[0].register_forward_hook(decoding)
    try:
        ran = runs(text_engine, INPUT, on_event=remember)
    finally:
        hook.remove()
    assert ran.cancelled
    assert (len(layers), ran.files) == (1, [])
    assert runs(text_engine, INPUT).digests == plain


def test_fails_when_frames_are_not_numbers(text_engine: Any, runs: Any) -> None:
    vae = text_engine._loaded._pipeline.vae
    hook = vae.decoder.register_forward_hook(lambda *_: torch.full_like(_[2], float("nan")))
    try:
        with pytest.raises(EngineError, match="are not numbers") as raised:
            runs(text_engine, INPUT)
    finally:
        hook.remove()
    assert raised.value.code == "runner_server_error"


def test_shows_the_first_frame_in_previews_and_changes_nothing(text_engine: Any, runs: Any) -> None:
    watched = runs(text_engine, {**INPUT, "num_inference_steps": 20}, previews=True)
    assert watched.digests == runs(text_engine, {**INPUT, "num_inference_steps": 20}).digests
    assert watched.previews
    for step, data in watched.previews:
        assert 0 < step < 20
        assert Image.open(io.BytesIO(data)).size == (64, 48)


def test_runs_with_a_single_expert(runs: Any, tmp_path: Path) -> None:
    import tiny_pipelines

    tiny_pipelines.wan_text_to_video(experts=1).save_pretrained(tmp_path / "model")
    engine = DiffusersEngine()
    parameters = {"device": "cpu", "threads": 1, "resolutions": {"480p": [64, 48]}}
    engine.load(Model("acme/tiny", "1.0.0", "wan_video", tmp_path / "model", parameters), lambda *_: None)
    assert probe(runs(engine, INPUT).files[0])["frames"] == 17
