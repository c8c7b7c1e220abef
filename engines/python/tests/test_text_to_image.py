import inspect
import io
from typing import Any

import numpy as np
import pytest
import torch
from judged import EVERY_STEP
from PIL import Image
from tempera_engine import EngineError, InputInvalid, RunCancelled

INPUT = {
    "prompt": "a large red circle on a blue background",
    "negative_prompt": "blurry",
    "image_size": {"width": 64, "height": 48},
    "num_inference_steps": 5,
    "guidance_scale": 2.5,
    "num_images": 1,
    "seed": 7,
    "enable_safety_checker": False,
    "output_format": "png",
}


@pytest.fixture(scope="module")
def engine(load: Any) -> Any:
    return load("text-to-image")


def pixels(file: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int)


def test_gives_the_output_of_fal(engine: Any, runs: Any) -> None:
    ran = runs(engine, INPUT)
    assert ran.output == {
        "images": [{"$artifact": 0, "width": 64, "height": 48}],
        "timings": {"inference": ran.output["timings"]["inference"]},
        "seed": 7,
        "has_nsfw_concepts": [False],
        "prompt": INPUT["prompt"],
    }
    assert ran.steps == [1, 2, 3, 4, 5]
    image = Image.open(io.BytesIO(ran.files[0]))
    assert (image.format, image.size) == ("PNG", (64, 48))
    assert pixels(ran.files[0]).std() > 1


def test_passes_the_fields_to_the_pipeline(engine: Any, runs: Any) -> None:
    plain = runs(engine, INPUT).digests
    assert runs(engine, INPUT).digests == plain
    for change in (
        {"seed": 8},
        {"prompt": "a star"},
        {"negative_prompt": "sharp"},
        {"guidance_scale": 4},
        {"num_inference_steps": 4},
    ):
        assert runs(engine, {**INPUT, **change}).digests != plain, change
    # A guidance of 1 is no guidance: the negative prompt is not used.
    unguided = {**INPUT, "guidance_scale": 1}
    assert runs(engine, unguided).digests == runs(engine, {**unguided, "negative_prompt": "sharp"}).digests


def test_makes_each_of_several_images_from_its_own_seed(engine: Any, runs: Any) -> None:
    several = runs(engine, {**INPUT, "num_images": 3})
    assert [image["$artifact"] for image in several.output["images"]] == [0, 1, 2]
    assert len(set(several.digests)) == 3
    for i, file in enumerate(several.files):
        alone = runs(engine, {**INPUT, "seed": 7 + i}).files[0]
        # They differ by less than 1/255 on average; mostly they are equal.
        assert np.abs(pixels(file) - pixels(alone)).mean() < 1


def test_scales_to_a_size_that_the_network_cannot_make(engine: Any, runs: Any) -> None:
    ran = runs(engine, {**INPUT, "image_size": {"width": 70, "height": 50}, "output_format": "jpeg"})
    image = Image.open(io.BytesIO(ran.files[0]))
    assert (image.format, image.size) == ("JPEG", (70, 50))
    assert ("INFO", "Rendered at 80x64, scaled to 70x50.") in ran.logs


def test_writes_webp(engine: Any, runs: Any) -> None:
    png, webp = (runs(engine, {**INPUT, "output_format": format}) for format in ("png", "webp"))
    image = Image.open(io.BytesIO(webp.files[0]))
    assert (image.format, image.size) == ("WEBP", (64, 48))
    head = next(event.artifact for event in webp.events if event.WhichOneof("event") == "artifact")
    assert (head.content_type, head.file_name) == ("image/webp", "7.webp")
    # The same image, but for what the compression of noise takes away.
    assert np.abs(pixels(webp.files[0]) - pixels(png.files[0])).mean() < 16


def test_refuses_a_side_that_webp_does_not_have(engine: Any, runs: Any) -> None:
    size = {"image_size": {"width": 16384, "height": 16}, "num_inference_steps": 2}
    with pytest.raises(InputInvalid) as raised:
        runs(engine, {**INPUT, **size, "output_format": "webp"})
    assert [(fault.loc, fault.type) for fault in raised.value.faults] == [
        (["image_size"], "feature_not_supported")
    ]


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        ({"guidance_scale": 1}, ["A guidance of 1.0 is none; `negative_prompt` has no effect."]),
        ({"guidance_scale": 1, "negative_prompt": " "}, []),
        (
            {"prompt": "a" * 1024},
            ["This model reads 1024 tokens of `prompt`, which is longer: its end is cut off."],
        ),
        ({"prompt": "a" * 500}, []),
        (
            {"negative_prompt": "a" * 1024},
            ["This model reads 1024 tokens of `negative_prompt`, which is longer: its end is cut off."],
        ),
    ],
)
def test_tells_what_has_no_effect(
    engine: Any, runs: Any, change: dict[str, Any], messages: list[str]
) -> None:
    ran = runs(engine, {**INPUT, "num_inference_steps": 2, **change})
    assert [message for _, message in ran.logs] == messages


@pytest.mark.parametrize(
    ("change", "loc", "type"),
    [
        ({"prompt": None}, ["prompt"], "missing"),
        ({"prompt": 5}, ["prompt"], "string_type"),
        ({"image_size": "enormous"}, ["image_size"], "literal_error"),
        ({"image_size": [64, 64]}, ["image_size"], "dict_type"),
        ({"image_size": {"width": "wide"}}, ["image_size", "width"], "int_type"),
        ({"image_size": {"width": 8, "height": 64}}, ["image_size", "width"], "int_type"),
        ({"image_size": {"width": 16384, "height": 16384}}, ["image_size"], "feature_not_supported"),
        ({"num_inference_steps": 1}, ["num_inference_steps"], "greater_than_equal"),
        ({"num_inference_steps": 2.5}, ["num_inference_steps"], "int_type"),
        ({"num_inference_steps": True}, ["num_inference_steps"], "int_type"),
        ({"guidance_scale": float("nan")}, ["guidance_scale"], "float_type"),
        ({"guidance_scale": float("inf")}, ["guidance_scale"], "less_than_equal"),
        ({"num_images": 5}, ["num_images"], "less_than_equal"),
        ({"seed": 1.5}, ["seed"], "int_type"),
        ({"output_format": "gif"}, ["output_format"], "literal_error"),
        ({"use_turbo": "yes"}, ["use_turbo"], "bool_type"),
        ({"use_turbo": True}, ["use_turbo"], "feature_not_supported"),
        ({"loras": [{"path": "https://example.com/a.safetensors"}]}, ["loras", 0, "path"], "missing"),
    ],
)
def test_refuses_a_bad_input_before_any_work(
    engine: Any, runs: Any, change: dict[str, Any], loc: list[Any], type: str
) -> None:
    events: list[Any] = []
    with pytest.raises(InputInvalid) as raised:
        runs(engine, {**INPUT, **change}, on_event=lambda _, event: events.append(event))
    assert [(fault.loc, fault.type) for fault in raised.value.faults] == [(loc, type)]
    assert events == []


def test_reports_all_faults_together(engine: Any, runs: Any) -> None:
    with pytest.raises(InputInvalid) as raised:
        runs(engine, {**INPUT, "image_size": "enormous", "num_images": 0, "seed": "x"})
    assert [fault.loc[0] for fault in raised.value.faults] == ["image_size", "num_images", "seed"]


def test_takes_every_integer_of_64_bits_as_a_seed_of_its_own(engine: Any, runs: Any) -> None:
    digests = []
    for seed in [0, 1, -1, -(2**63), 2**53, 2**53 + 1, 2**63 + 1, 2**64 - 2]:
        ran = runs(engine, {**INPUT, "seed": seed, "num_inference_steps": 2, "num_images": 2})
        assert ran.output["seed"] == seed
        digests.append(ran.digests[0])
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    ("seed", "kind"),
    [(2**64, "less_than_equal"), (1e300, "less_than_equal"), (-(2**63) - 1, "greater_than_equal")],
)
def test_refuses_a_seed_of_more_than_64_bits(engine: Any, runs: Any, seed: Any, kind: str) -> None:
    with pytest.raises(InputInvalid) as raised:
        runs(engine, {**INPUT, "seed": seed})
    assert [(fault.loc, fault.type) for fault in raised.value.faults] == [(["seed"], kind)]


def test_resumes_from_any_step_to_the_same_image(engine: Any, runs: Any) -> None:
    several = {**INPUT, "num_images": 2}
    whole = runs(engine, several, policy=EVERY_STEP)
    assert sorted(whole.checkpoints) == [1, 2, 3, 4]
    for step, checkpoint in whole.checkpoints.items():
        rest = runs(engine, several, policy=EVERY_STEP, checkpoint=checkpoint)
        assert rest.steps == list(range(step + 1, 6))
        assert rest.logs == [("INFO", f"Going on from step {step}.")]
        assert rest.digests == whole.digests
        # The same holds for checkpoints of a resumed run.
        for later, again in rest.checkpoints.items():
            assert again == whole.checkpoints[later]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], "it is damaged"),
        (lambda data: data[:30], "its header cannot be read"),
        (lambda data: b"", "it is not a checkpoint"),
        (lambda data: b"PK\x03\x04" * 1000, "it is not a checkpoint"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "it is damaged"),
        (
            lambda data: data.replace(b"acme/tiny 1.0.0", b"acme/tiny 1.0.1"),
            "it belongs to another model version",
        ),
        (
            lambda data: data.replace(b"QwenImagePipeline", b"QwenImagePipelinf"),
            "it belongs to another format",
        ),
    ],
)
def test_ignores_a_checkpoint_that_does_not_fit(engine: Any, runs: Any, damage: Any, reason: str) -> None:
    whole = runs(engine, INPUT, policy=EVERY_STEP)
    again = runs(engine, INPUT, checkpoint=damage(whole.checkpoints[3]))
    assert again.logs == [
        ("WARN", f"The checkpoint of an earlier attempt is ignored: {reason}. Starting from the beginning.")
    ]
    assert again.steps == [1, 2, 3, 4, 5]
    assert again.digests == whole.digests


def test_ignores_a_checkpoint_of_another_input(engine: Any, runs: Any) -> None:
    checkpoint = runs(engine, INPUT, policy=EVERY_STEP).checkpoints[3]
    other = {**INPUT, "seed": 8}
    again = runs(engine, other, checkpoint=checkpoint)
    assert again.logs[0][1].startswith(
        "The checkpoint of an earlier attempt is ignored: it belongs to another input."
    )
    assert again.digests == runs(engine, other).digests


def test_cancels_a_run_between_steps_and_goes_on(engine: Any, runs: Any) -> None:
    plain = runs(engine, INPUT).digests

    def at_step_2(run: Any, event: Any) -> None:
        if event.WhichOneof("event") == "progress" and event.progress.step == 2:
            run._cancel()

    ran = runs(engine, INPUT, on_event=at_step_2)
    assert ran.cancelled
    assert (ran.steps, ran.files) == ([1, 2], [])
    assert runs(engine, INPUT).digests == plain


def test_cancels_a_run_in_the_middle_of_a_step(engine: Any, runs: Any) -> None:
    blocks = engine._loaded._pipeline.transformer.transformer_blocks
    calls: list[int] = []
    cancel: Any = None

    def first_block_done(*_: Any) -> None:
        calls.append(0)
        cancel()

    def second_block_done(*_: Any) -> None:
        calls.append(1)

    def remember(run: Any, event: Any) -> None:
        nonlocal cancel
        cancel = run._cancel

    hooks = [
        blocks[0].register_forward_hook(first_block_done),
        blocks[1].register_forward_hook(second_block_done),
    ]
    try:
        # The log line about the size comes before the first step, so the run is known by then.
        ran = runs(engine, {**INPUT, "image_size": {"width": 70, "height": 50}}, on_event=remember)
    finally:
        for hook in hooks:
            hook.remove()
    assert ran.cancelled
    assert calls == [0]
    assert ran.steps == []


def test_shows_the_unfinished_image_in_previews_and_changes_nothing(engine: Any, runs: Any) -> None:
    large = {**INPUT, "image_size": {"width": 320, "height": 160}, "num_inference_steps": 12}
    watched = runs(engine, large, previews=True)
    assert watched.digests == runs(engine, large).digests
    assert watched.previews
    for step, data in watched.previews:
        assert 0 < step < 12
        image = Image.open(io.BytesIO(data))
        assert (image.format, image.size) == ("JPEG", (256, 128))


def test_shows_previews_that_come_closer_to_the_image(
    engine: Any, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The estimate of the data improves from step to step. Without a limit on their time every step has a
    preview.
    """
    monkeypatch.setattr("tempera_engine.run.PREVIEW_SHARE", 1e9)
    watched = runs(
        engine, {**INPUT, "image_size": {"width": 64, "height": 64}, "num_inference_steps": 8}, previews=True
    )
    assert [step for step, _ in watched.previews] == [1, 2, 3, 4, 5, 6, 7]
    final = pixels(watched.files[0])
    distances = [np.abs(pixels(data) - final).mean() for _, data in watched.previews]
    assert distances[-1] < distances[0]
    assert distances[-1] < 8


def test_hands_out_no_checkpoints_of_a_scheduler_whose_state_cannot_be_stored(
    engine: Any, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler_class = type(engine._loaded._pipeline.scheduler)
    own = scheduler_class.set_timesteps

    def with_a_generator(self: Any, *args: Any, **kwargs: Any) -> None:
        own(self, *args, **kwargs)
        self.noise_source = torch.Generator()

    plain = runs(engine, INPUT).digests
    # Pipelines inspect its signature.
    with_a_generator.__signature__ = inspect.signature(own)  # type: ignore[attr-defined]
    monkeypatch.setattr(scheduler_class, "set_timesteps", with_a_generator)
    ran = runs(engine, INPUT, policy=EVERY_STEP)
    assert ran.checkpoints == {}
    message = (
        "The scheduler's FlowMatchEulerDiscreteScheduler.noise_source cannot be stored; "
        "a retry will start from the beginning."
    )
    assert ran.logs == [("WARN", message)]
    assert ran.digests == plain


def test_fails_at_once_when_latents_are_not_numbers(engine: Any, runs: Any) -> None:
    hook = engine._loaded._pipeline.transformer.proj_out.register_forward_hook(
        lambda *_: torch.full_like(_[2], float("nan"))
    )
    try:
        with pytest.raises(EngineError, match="no numbers after step 1") as raised:
            runs(engine, INPUT)
    finally:
        hook.remove()
    assert raised.value.code == "runner_server_error"
    assert runs(engine, INPUT).files


def test_raises_a_cancel_that_is_not_an_exception_for_libraries() -> None:
    assert not issubclass(RunCancelled, Exception)
