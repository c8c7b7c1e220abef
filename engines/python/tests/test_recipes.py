"""Recipes of a manifest, on pipelines of the real classes with random weights."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import torch
from safetensors.torch import save_file
from tempera_diffusers.recipes import Recipe, read_recipes
from tempera_engine import InputInvalid, Model
from judged import EVERY_STEP


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return tiny_pipelines.wan_text_to_video()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / "loras").mkdir()
    save_file({"blocks.0.attn1.to_q.lora_A.weight": torch.zeros(4, 24)}, folder / "loras/turbo.safetensors")
    (folder / "weights.bin").write_bytes(b"")
    return folder


def test_a_recipe_has_its_settings(pipeline: Any, folder: Path) -> None:
    turbo = {
        "steps": 4,
        "guidanceScale": 1,
        "guidanceScale2": 1.5,
        "scheduler": {"class": "FlowMatchEulerDiscreteScheduler", "shift": 5},
        "loras": [{"file": "loras/turbo.safetensors", "scale": 0.5, "transformer": "both"}],
    }
    recipes = read_recipes({"turbo": turbo, "high": {"cache": {"kind": "first-block"}}}, pipeline, folder)
    recipe = recipes["turbo"]
    assert (recipe.steps, recipe.guidanceScale, recipe.guidanceScale2) == (4, 1, 1.5)
    assert recipe.replaced == ["num_inference_steps", "guidance_scale", "guidance_scale_2"]
    [lora] = recipe.loras
    assert (lora.scale, lora.networks) == (0.5, ("transformer", "transformer_2"))
    assert lora.file.path == folder / "loras/turbo.safetensors"
    assert recipes["high"].cache is not None
    assert recipes["high"].replaced == []


def test_a_recipe_makes_its_scheduler(pipeline: Any) -> None:
    own = Recipe("turbo").scheduler_of(pipeline.scheduler, flow_shift=7.0, shift=7.0)
    assert (type(own), own.config.flow_shift) == (type(pipeline.scheduler), 7.0)
    assert own is not pipeline.scheduler
    euler = {"class": "FlowMatchEulerDiscreteScheduler", "shift": 5.0}
    turbo = Recipe("turbo", scheduler=euler).scheduler_of(pipeline.scheduler, flow_shift=7.0, shift=7.0)
    assert (type(turbo).__name__, turbo.config.shift) == ("FlowMatchEulerDiscreteScheduler", 5.0)


def test_a_cache_is_on_for_its_runs_only(pipeline: Any, folder: Path) -> None:
    settings = {"high": {"cache": {"kind": "first-block", "threshold": 0.2}}}
    recipe = read_recipes(settings, pipeline, folder)["high"]
    networks = [pipeline.transformer, pipeline.transformer_2]
    assert not any(network.is_cache_enabled for network in networks)
    with pytest.raises(RuntimeError), recipe.caching(networks):
        assert all(network.is_cache_enabled for network in networks)
        raise RuntimeError
    assert not any(network.is_cache_enabled for network in networks)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"fast": {}}, "fast: there is no such recipe (turbo, regular, high)"),
        ({"turbo": 4}, "turbo: should be a mapping such as { steps: 4, guidanceScale: 1 }"),
        ({"turbo": {"step": 4}}, "turbo.step: there is no such setting"),
        ({"turbo": {"steps": 4.5}}, "turbo.steps: 4.5 should be an integer from 2 to 1000"),
        ({"turbo": {"guidanceScale": "1"}}, "turbo.guidanceScale: '1' should be a number from 0 to 100"),
        ({"turbo": {"scheduler": {"class": "os"}}}, "turbo.scheduler.class: 'os' should be one of FlowMatch"),
        (
            {"turbo": {"scheduler": {"shifts": 5}}},
            "turbo.scheduler.shifts: UniPCMultistepScheduler has no such setting",
        ),
        (
            {"turbo": {"scheduler": {"flow_shift": "much"}}},
            "turbo.scheduler: this model cannot have it: ",
        ),
        ({"turbo": {"loras": ["a"]}}, "turbo.loras[0]: should be { file, scale, transformer }"),
        (
            {"turbo": {"loras": [{"file": "../a.safetensors"}]}},
            "turbo.loras[0].file: '../a.safetensors' should name a .safetensors file in the model's folder",
        ),
        (
            {"turbo": {"loras": [{"file": "weights.bin"}]}},
            "turbo.loras[0].file: 'weights.bin' should name a .safetensors file in the model's folder",
        ),
        (
            {"turbo": {"loras": [{"file": "loras/turbo.safetensors", "scale": 9}]}},
            "turbo.loras[0].scale: 9 should be a number from 0 to 4",
        ),
        (
            {"high": {"cache": {"kind": "none"}}},
            "high.cache: should have a kind: one of first-block, taylor, mag",
        ),
        (
            {"high": {"cache": {"kind": "first-block", "speed": 2}}},
            "high.cache: this model cannot have it: FirstBlockCacheConfig",
        ),
    ],
)
def test_wrong_settings_are_named(pipeline: Any, folder: Path, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as refused:
        read_recipes(given, pipeline, folder)
    assert sentence in str(refused.value)
    assert str(refused.value).startswith("parameters.recipes of model.yaml: ")


def test_all_faults_are_named_at_once(pipeline: Any, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"turbo\.steps: .*; turbo\.guidanceScale: .*; fast: "):
        read_recipes({"turbo": {"steps": 0, "guidanceScale": -1}, "fast": {}}, pipeline, folder)


LAYER = "transformer_blocks.0.attn.to_q"
INPUT = {
    "prompt": "a large red circle",
    "image_size": {"width": 64, "height": 48},
    "num_inference_steps": 4,
    "guidance_scale": 3,
    "seed": 7,
    "enable_safety_checker": False,
}


@pytest.fixture(scope="module")
def load_with(pipeline_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Loads an engine with recipes, and with LoRA weights for them in the model's folder."""
    from tempera_diffusers.engine import DiffusersEngine

    folder = tmp_path_factory.mktemp("recipes") / "model"
    shutil.copytree(pipeline_folder("text-to-image"), folder)
    (folder / "loras").mkdir()
    generator = torch.Generator().manual_seed(1)
    tensors = {
        f"transformer.{LAYER}.lora_A.weight": torch.randn(4, 32, generator=generator),
        f"transformer.{LAYER}.lora_B.weight": torch.randn(32, 4, generator=generator),
    }
    save_file(tensors, folder / "loras/turbo.safetensors")
    other = {f"transformer.blocks.0.{name}.weight": torch.zeros(4, 4) for name in ("lora_A", "lora_B")}
    save_file(other, folder / "loras/other.safetensors")

    def load(**parameters: Any) -> Any:
        engine = DiffusersEngine()
        settings = {"device": "cpu", "threads": 1, **parameters}
        engine.load(Model("acme/tiny", "1.0.0", "text-to-image", folder, settings), lambda *_: None)
        return engine

    return load


TURBO = {"steps": 2, "guidanceScale": 1, "loras": [{"file": "loras/turbo.safetensors"}]}


def test_use_turbo_selects_its_recipe_for_one_request(load_with: Any, runs: Any) -> None:
    engine = load_with(recipes={"turbo": TURBO})
    plain = runs(engine, INPUT)
    turbo = runs(engine, {**INPUT, "use_turbo": True})
    assert turbo.steps == [1, 2]
    assert turbo.logs == [
        (
            "INFO",
            "The recipe `turbo` sets its own values; "
            "`num_inference_steps` and `guidance_scale` have no effect.",
        )
    ]
    by_hand = {**INPUT, "num_inference_steps": 2, "guidance_scale": 1}
    assert turbo.digests != runs(engine, by_hand).digests
    assert runs(engine, INPUT).digests == plain.digests


def test_an_endpoint_may_always_have_a_recipe(load_with: Any, runs: Any) -> None:
    replaced = ("num_inference_steps", "guidance_scale")
    given = {name: value for name, value in INPUT.items() if name not in replaced}
    chosen = runs(load_with(recipes={"turbo": TURBO}), {**given, "use_turbo": True})
    always = runs(load_with(recipes={"turbo": TURBO}, recipe="turbo"), given)
    assert (always.digests, always.logs) == (chosen.digests, chosen.logs)
    with pytest.raises(ValueError, match="there is no recipe 'high' in `recipes`"):
        load_with(recipes={"turbo": TURBO}, recipe="high")


def test_a_step_cache_is_used_by_its_runs_alone_and_they_hand_out_no_checkpoint(
    load_with: Any, runs: Any
) -> None:
    engine = load_with(recipes={"high": {"cache": {"kind": "first-block", "threshold": 10.0}}})
    plain = runs(engine, INPUT, policy=EVERY_STEP)
    assert plain.checkpoints
    cached = runs(engine, {**INPUT, "acceleration": "high"}, policy=EVERY_STEP)
    assert cached.digests != plain.digests
    assert cached.checkpoints == {}
    told = "The recipe `high` skips passes by a step cache: a retry starts from the beginning."
    assert cached.logs == [("INFO", told)]
    assert runs(engine, INPUT).digests == plain.digests
    without = runs(engine, {**INPUT, "acceleration": "regular"})
    assert without.logs == [("INFO", "This model computes every step; `acceleration` has no effect.")]
    assert without.digests == plain.digests
    # A checkpoint of a run without the cache is not read.
    again = runs(
        engine, {**INPUT, "acceleration": "high"}, policy=EVERY_STEP, checkpoint=plain.checkpoints[2]
    )
    assert again.steps == [1, 2, 3, 4]


def test_weights_of_another_model_end_the_load(load_with: Any) -> None:
    with pytest.raises(ValueError, match=r"other\.safetensors: These LoRA weights"):
        load_with(recipes={"turbo": {"loras": [{"file": "loras/other.safetensors"}]}})


def test_use_turbo_without_a_recipe_is_refused(load_with: Any, runs: Any) -> None:
    with pytest.raises(InputInvalid) as refused:
        runs(load_with(), {**INPUT, "use_turbo": True})
    assert [fault.msg for fault in refused.value.faults] == [
        "This model has no recipe `turbo`; leave `use_turbo` off."
    ]


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        (
            {"recipes": {"turbo": {"scheduler": {"class": "UniPCMultistepScheduler"}}}},
            "turbo.scheduler",
        ),
        (
            {"recipes": {"high": {"cache": {"kind": "taylor"}}}, "compile": True},
            "recipes.high.cache: not together",
        ),
        ({"recipes": {"turbo": TURBO}, "compile": True}, "recipes.turbo.loras: not for this model"),
        (
            {"recipes": {"turbo": TURBO}, "weightStorage": "float8_e4m3fn"},
            "recipes.turbo.loras: not for this model, since its weights are stored as float8_e4m3fn",
        ),
    ],
)
def test_settings_that_do_not_go_together_end_the_load(
    load_with: Any, parameters: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError) as refused:
        load_with(**parameters)
    assert sentence in str(refused.value)


def test_a_link_in_the_folder_may_lead_to_the_weights(pipeline: Any, folder: Path, tmp_path: Path) -> None:
    blob = tmp_path / "0123abcd"
    save_file({"blocks.0.attn1.to_q.lora_A.weight": torch.zeros(4, 24)}, blob)
    (folder / "linked.safetensors").symlink_to(blob)
    recipes = read_recipes({"turbo": {"loras": [{"file": "linked.safetensors"}]}}, pipeline, folder)
    assert recipes["turbo"].loras[0].file.bytes == blob.stat().st_size


def test_distilled_weights_of_both_experts_of_a_video_resume(
    pipeline_folder: Any, tmp_path: Path, runs: Any
) -> None:
    from tempera_diffusers.engine import DiffusersEngine

    folder = tmp_path / "model"
    shutil.copytree(pipeline_folder("text-to-video"), folder)
    generator = torch.Generator().manual_seed(1)
    shapes = {"lora_A": (4, 24), "lora_B": (24, 4)}
    tensors = {
        f"blocks.0.attn1.to_q.{name}.weight": torch.randn(*shape, generator=generator)
        for name, shape in shapes.items()
    }
    save_file(tensors, folder / "turbo.safetensors")
    turbo = {
        "steps": 4,
        "guidanceScale": 1,
        "guidanceScale2": 1,
        "scheduler": {"class": "FlowMatchEulerDiscreteScheduler", "shift": 5},
        "loras": [{"file": "turbo.safetensors", "transformer": "both"}],
    }
    engine = DiffusersEngine()
    parameters = {
        "device": "cpu",
        "threads": 1,
        "resolutions": {"480p": [64, 48]},
        "recipes": {"turbo": turbo},
        "recipe": "turbo",
        "warmUp": [{}],
    }
    engine.load(Model("acme/turbo", "1.0.0", "wan_video", folder, parameters), lambda *_: None)
    given = {"prompt": "waves", "num_frames": 17, "resolution": "480p", "seed": 7}
    given["interpolator_model"] = "none"
    whole = runs(engine, given, policy=EVERY_STEP)
    assert whole.steps == [1, 2, 3, 4]
    assert whole.logs == [
        (
            "INFO",
            "The recipe `turbo` sets its own values; `num_inference_steps`, `guidance_scale` and "
            "`guidance_scale_2` have no effect.",
        ),
        ("INFO", "The recipe `turbo` has its own noise levels; `shift` has no effect."),
    ]
    resumed = runs(engine, given, policy=EVERY_STEP, checkpoint=whole.checkpoints[2])
    assert resumed.steps == [3, 4]
    assert resumed.digests == whole.digests
