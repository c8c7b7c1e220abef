"""Images that begin with an image, by Qwen-Image, Qwen-Image-Edit and its later versions."""

import hashlib
import io
import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from conftest import PARAMETERS
from judged import EVERY_STEP
from PIL import Image
from tempera_diffusers.engine import DiffusersEngine
from tempera_diffusers.fields import UNKNOWN_FIELD
from tempera_engine import InputFile, InputInvalid, Model

INPUT = {
    "prompt": "a large red circle on a blue background",
    "negative_prompt": "blurry",
    "num_inference_steps": 5,
    "guidance_scale": 2.5,
    "num_images": 1,
    "seed": 7,
    "enable_safety_checker": False,
    "output_format": "png",
    "image_url": "attachment:0",
}
SEVERAL = {**{name: value for name, value in INPUT.items() if name != "image_url"}}
SEVERAL["image_urls"] = ["attachment:0", "attachment:1"]

INPUTS: dict[str, dict[str, Any]] = {
    "image-to-image": {**INPUT, "strength": 0.8},
    "image-edit": INPUT,
    "image-edit-plus": SEVERAL,
}


@pytest.fixture(autouse=True)
def small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the editing pipelines look at images of about 64 by 64 pixels, where they look at a megapixel."""
    for name in ("edit", "edit_plus", "edit_inpaint"):
        module = getattr(diffusers.pipelines.qwenimage, f"pipeline_qwenimage_{name}")
        own = module.calculate_dimensions
        monkeypatch.setattr(
            module, "calculate_dimensions", lambda _area, ratio, own=own: own(64 * 64, ratio)
        )


def image_file(path: Path, image: Image.Image) -> InputFile:
    out = io.BytesIO()
    image.save(out, "PNG")
    path.write_bytes(out.getvalue())
    return InputFile(path, "image/png", len(out.getvalue()), hashlib.sha256(out.getvalue()).hexdigest())


@pytest.fixture
def files(tmp_path: Path) -> list[InputFile]:
    """A red image, a blue one, and a mask of the left half, which is smaller."""
    mask = Image.new("RGB", (32, 24), "black")
    mask.paste("white", (0, 0, 16, 24))
    return [
        image_file(tmp_path / "red.png", Image.new("RGB", (64, 48), "red")),
        image_file(tmp_path / "blue.png", Image.new("RGB", (48, 64), "blue")),
        image_file(tmp_path / "mask.png", mask),
    ]


def pixels(file: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int)


@pytest.mark.parametrize("kind", INPUTS)
def test_gives_the_output_of_fal(load: Any, runs: Any, files: list[InputFile], kind: str) -> None:
    size = {"image_size": {"width": 64, "height": 48}}
    ran = runs(load(kind), {**INPUTS[kind], **size}, files=files)
    assert ran.output == {
        "images": [{"$artifact": 0, "width": 64, "height": 48}],
        "timings": {"inference": ran.output["timings"]["inference"]},
        "seed": 7,
        "has_nsfw_concepts": [False],
        "prompt": INPUT["prompt"],
    }
    image = Image.open(io.BytesIO(ran.files[0]))
    assert (image.format, image.size) == ("PNG", (64, 48))
    assert pixels(ran.files[0]).std() > 1
    assert ran.logs == []


@pytest.mark.parametrize(
    ("kind", "size"), [("image-to-image", (64, 48)), ("image-edit", (64, 48)), ("image-edit-plus", (48, 64))]
)
def test_is_as_large_as_the_image_unless_a_size_is_asked_for(
    load: Any, runs: Any, files: list[InputFile], kind: str, size: tuple[int, int]
) -> None:
    ran = runs(load(kind), INPUTS[kind], files=files)
    assert Image.open(io.BytesIO(ran.files[0])).size == size
    other = {"image_size": {"width": 70, "height": 50}}
    ran = runs(load(kind), {**INPUTS[kind], **other}, files=files)
    assert Image.open(io.BytesIO(ran.files[0])).size == (70, 50)
    assert ran.logs == [("INFO", "Rendered at 80x64, scaled to 70x50.")]


@pytest.mark.parametrize("kind", INPUTS)
def test_passes_the_fields_to_the_pipeline(
    load: Any, runs: Any, files: list[InputFile], kind: str
) -> None:
    engine, base = load(kind), INPUTS[kind]
    plain = runs(engine, base, files=files).digests
    assert runs(engine, base, files=files).digests == plain
    changes: list[dict[str, Any]] = [
        {"seed": 8},
        {"prompt": "a star"},
        {"negative_prompt": "sharp"},
        {"guidance_scale": 4},
        {"num_inference_steps": 4},
    ]
    if kind == "image-edit-plus":
        changes += [{"image_urls": ["attachment:1", "attachment:1"]}, {"image_urls": ["attachment:1"]}]
    else:
        changes += [{"image_url": "attachment:1"}, {"mask_url": "attachment:2"}, {"strength": 0.4}]
    for change in changes:
        assert runs(engine, {**base, **change}, files=files).digests != plain, change


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("image-to-image", {}),
        ("image-to-image", {"mask_url": "attachment:2"}),
        ("image-edit", {}),
        ("image-edit", {"strength": 0.8}),
        ("image-edit", {"mask_url": "attachment:2", "strength": 0.8}),
        ("image-edit-plus", {}),
    ],
)
def test_resumes_to_the_same_image(
    load: Any, runs: Any, files: list[InputFile], kind: str, change: dict[str, Any]
) -> None:
    engine, base = load(kind), {**INPUTS[kind], **change, "num_images": 2}
    whole = runs(engine, base, files=files, policy=EVERY_STEP)
    # A strength of 0.8 begins with the second of five steps.
    steps = list(range(1, 5 if "strength" in base else 6))
    assert whole.steps == steps
    for step in steps[:-1]:
        rest = runs(engine, base, files=files, checkpoint=whole.checkpoints[step])
        assert rest.steps == steps[step:]
        assert rest.digests == whole.digests


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("image-to-image", {}),
        ("image-to-image", {"mask_url": "attachment:2"}),
        ("image-edit", {}),
        ("image-edit-plus", {}),
    ],
)
def test_makes_each_of_several_images_from_its_own_seed(
    load: Any, runs: Any, files: list[InputFile], kind: str, change: dict[str, Any]
) -> None:
    engine, base = load(kind), {**INPUTS[kind], **change}
    several = runs(engine, {**base, "num_images": 2}, files=files)
    assert len(set(several.digests)) == 2
    for i, file in enumerate(several.files):
        alone = runs(engine, {**base, "seed": 7 + i}, files=files).files[0]
        assert np.abs(pixels(file) - pixels(alone)).mean() < 1


@pytest.mark.parametrize("kind", INPUTS)
def test_goes_on_after_the_last_step_when_the_memory_was_full(
    load: Any, runs: Any, files: list[InputFile], kind: str
) -> None:
    engine, base = load(kind), {**INPUTS[kind], "guidance_scale": 1, "negative_prompt": " "}
    plain = runs(engine, base, files=files)
    passes: list[int] = []

    def full(*_: Any) -> None:
        passes.append(1)
        if len(passes) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    hook = engine._pipeline.transformer.proj_out.register_forward_pre_hook(full)
    try:
        ran = runs(engine, base, files=files)
    finally:
        hook.remove()
    assert (ran.steps, ran.digests) == (plain.steps, plain.digests)
    # No step is computed twice but the one that failed.
    assert len(passes) == len(plain.steps) + 1


@pytest.mark.parametrize("kind", ["image-to-image", "image-edit"])
def test_comes_closer_to_the_image_with_less_strength(
    load: Any, runs: Any, files: list[InputFile], kind: str
) -> None:
    engine = load(kind)
    kept = runs(engine, {**INPUTS[kind], "strength": 0, "num_images": 2}, files=files)
    # Nothing is left to do: the image itself.
    assert (kept.steps, len(kept.files)) == ([], 2)
    assert (pixels(kept.files[1]) == pixels(files[0].path.read_bytes())).all()
    counts = [
        len(runs(engine, {**INPUTS[kind], "strength": strength}, files=files).steps)
        for strength in (0.1, 0.6, 1)
    ]
    assert counts == [1, 3, 5]


@pytest.mark.parametrize("kind", ["image-to-image", "image-edit"])
def test_paints_where_the_mask_is_white(
    load: Any, runs: Any, files: list[InputFile], tmp_path: Path, kind: str
) -> None:
    """The latents are compared, since the random decoder mixes all of the image."""
    engine, base = load(kind), {**INPUTS[kind], "strength": 1}
    black = image_file(tmp_path / "black.png", Image.new("RGB", (64, 48), "black"))
    latents: list[Any] = []
    hook = engine._loaded._whole.vae.decoder.register_forward_pre_hook(
        lambda _, given: latents.append(given[0].numpy()[0, :, 0])
    )
    try:
        for mask in ("attachment:2", "attachment:3"):
            runs(engine, {**base, "mask_url": mask}, files=[*files, black])
    finally:
        hook.remove()
    left_half, nothing = latents
    assert (left_half[..., 4:] == nothing[..., 4:]).all()
    assert np.abs(left_half[..., :4] - nothing[..., :4]).mean() > 0.1


@pytest.mark.parametrize(
    ("kind", "change", "loc", "type"),
    [
        ("image-to-image", {"image_url": None}, ["image_url"], "missing"),
        ("image-to-image", {"image_url": "/etc/passwd"}, ["image_url"], "missing"),
        ("image-to-image", {"image_url": "attachment:3"}, ["image_url"], "image_load_error"),
        ("image-to-image", {"mask_url": "attachment:3"}, ["mask_url"], "image_load_error"),
        ("image-to-image", {"mask_url": "/etc/passwd"}, ["mask_url"], "missing"),
        ("image-to-image", {"strength": 1.1}, ["strength"], "less_than_equal"),
        ("image-to-image", {"strength": "much"}, ["strength"], "float_type"),
        ("image-to-image", {"image_size": "enormous"}, ["image_size"], "literal_error"),
        ("image-to-image", {"image_urls": ["attachment:1"]}, ["image_urls"], "feature_not_supported"),
        ("image-edit", {"image_url": None}, ["image_url"], "missing"),
        ("image-edit", {"mask_url": "attachment:3"}, ["mask_url"], "image_load_error"),
        ("image-edit", {"strength": -1}, ["strength"], "greater_than_equal"),
        ("image-edit-plus", {"image_urls": None}, ["image_urls"], "missing"),
        ("image-edit-plus", {"image_urls": []}, ["image_urls"], "list_type"),
        ("image-edit-plus", {"image_urls": ["attachment:0"] * 11}, ["image_urls"], "list_type"),
        (
            "image-edit-plus",
            {"image_urls": ["attachment:0", "attachment:3"]},
            ["image_urls", 1],
            "image_load_error",
        ),
        ("image-edit-plus", {"mask_url": "attachment:2"}, ["mask_url"], "feature_not_supported"),
    ],
)
def test_refuses_a_bad_input_before_any_work(
    load: Any,
    runs: Any,
    files: list[InputFile],
    tmp_path: Path,
    kind: str,
    change: dict[str, Any],
    loc: list[Any],
    type: str,
) -> None:
    (tmp_path / "text.png").write_bytes(b"this is a text file")
    bad = InputFile(tmp_path / "text.png", "image/png", 19, "")
    events: list[Any] = []
    with pytest.raises(InputInvalid) as raised:
        runs(
            load(kind),
            {**INPUTS[kind], **change},
            files=[*files, bad],
            on_event=lambda _, event: events.append(event),
        )
    assert [(fault.loc, fault.type) for fault in raised.value.faults] == [(loc, type)]
    assert events == []


def test_tells_of_a_strength_that_has_no_effect(load: Any, runs: Any, files: list[InputFile]) -> None:
    ran = runs(load("image-edit-plus"), {**SEVERAL, "strength": 0.5}, files=files)
    assert ran.logs == [("WARN", f"`strength` {UNKNOWN_FIELD}")]


@pytest.mark.parametrize("kind", INPUTS)
def test_shows_the_unfinished_image_in_previews_and_changes_nothing(
    load: Any, runs: Any, files: list[InputFile], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("tempera_engine.run.PREVIEW_SHARE", 1e9)
    watched = runs(load(kind), INPUTS[kind], files=files, previews=True)
    assert watched.digests == runs(load(kind), INPUTS[kind], files=files).digests
    assert [step for step, _ in watched.previews] == watched.steps[:-1]
    size = (48, 64) if kind == "image-edit-plus" else (64, 48)
    assert all(Image.open(io.BytesIO(data)).size == size for _, data in watched.previews)


def test_holds_one_copy_of_the_weights(load: Any) -> None:
    for kind, names in (("image-to-image", ("_whole", "_masked")), ("image-edit", ("_whole", "_noised"))):
        first, second = (getattr(load(kind)._loaded, name) for name in names)
        for part in ("transformer", "vae", "text_encoder"):
            assert getattr(first, part) is getattr(second, part)


@pytest.mark.parametrize(
    ("kind", "class_name"),
    [
        ("text-to-image", "QwenImageImg2ImgPipeline"),
        ("text-to-image", "QwenImageInpaintPipeline"),
        ("image-edit", "QwenImageEditInpaintPipeline"),
    ],
)
def test_serves_a_folder_that_names_another_class_with_the_same_networks(
    pipeline_folder: Any,
    load: Any,
    runs: Any,
    files: list[InputFile],
    tmp_path: Path,
    kind: str,
    class_name: str,
) -> None:
    folder = Path(shutil.copytree(pipeline_folder(kind), tmp_path / "model"))
    index = (folder / "model_index.json").read_text()
    own = {"text-to-image": "QwenImagePipeline", "image-edit": "QwenImageEditPipeline"}[kind]
    (folder / "model_index.json").write_text(index.replace(f'"{own}"', f'"{class_name}"'))
    engine = DiffusersEngine()
    engine.load(Model("acme/tiny", "1.0.0", "image-to-image", folder, PARAMETERS), lambda *_: None)
    same = "image-to-image" if kind == "text-to-image" else kind
    expected = runs(load(same), INPUTS[same], files=files).digests
    assert runs(engine, INPUTS[same], files=files).digests == expected


def test_refuses_an_autoencoder_of_another_type_at_load(pipeline_folder: Any) -> None:
    parameters = {**PARAMETERS, "dtype": "bfloat16", "vaeDtype": "float32"}
    model = Model("acme/tiny", "1.0.0", "image-to-image", pipeline_folder("text-to-image"), parameters)
    with pytest.raises(ValueError, match="vaeDtype: torch.float32 differs .* torch.bfloat16"):
        DiffusersEngine().load(model, lambda *_: None)


@pytest.mark.parametrize("kind", INPUTS)
def test_warms_up_with_an_image(pipeline_folder: Any, kind: str) -> None:
    folder = "text-to-image" if kind == "image-to-image" else kind
    for given, message in (({}, None), ({"seed": "x"}, "seed: Input should be a valid integer")):
        size = {"image_size": {"width": 64, "height": 48}}
        parameters = {**PARAMETERS, "warmUp": [{**size, **given}]}
        model = Model("acme/tiny", "1.0.0", "image-to-image", pipeline_folder(folder), parameters)
        if message is None:
            DiffusersEngine().load(model, lambda *_: None)
        else:
            with pytest.raises(ValueError, match=message):
                DiffusersEngine().load(model, lambda *_: None)
