"""
No field of a shipped schema is dropped in silence: another value of it changes the files, or is refused, or
the log names the field. The values are made from the schemas, so that a new field is tried as well.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tempera_engine import InputFile, InputInvalid

from tempera_diffusers.engine import DiffusersEngine
from tempera_diffusers.fields import PLATFORM_FIELDS, UNKNOWN_FIELD

ROOT = Path(__file__).resolve().parents[3]

SMALL = {
    "num_frames": 17,
    "num_inference_steps": 2,
    "resolution": "480p",
    "image_size": {"width": 64, "height": 48},
    "seed": 1,
    # With more of two steps the result begins with noise alone.
    "strength": 0.5,
}
"""Replaces defaults that would take long."""


def shipped_inputs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the endpoint and the input schema of each model whose runner this engine has."""
    runners = DiffusersEngine().describe().runners
    for manifest in sorted((ROOT / "models").rglob("model.yaml")):
        text = manifest.read_text()
        found = re.search(r"^runner: (.+)$", text, re.MULTILINE)
        if found is not None and found[1] in runners:
            folder = manifest.parent.relative_to(ROOT / "models")
            schema = json.loads((ROOT / "schemas" / "models" / folder / "input.json").read_text())
            yield folder.parent.as_posix(), schema


INPUTS = dict(shipped_inputs())

PIPELINES = {
    "fal-ai/qwen-image": ["text-to-image"],
    "fal-ai/qwen-image/image-to-image": ["image-to-image"],
    "fal-ai/wan/v2.2-a14b/text-to-video": ["text-to-video", "text-and-image-to-video"],
    "fal-ai/wan/v2.2-a14b/image-to-video": ["image-to-video", "text-and-image-to-video"],
}
"""The tiny pipelines that can stand behind each endpoint."""


def base_input(schema: dict[str, Any]) -> dict[str, Any]:
    """Returns an input as the platform hands it over: checked, with its defaults, with its files fetched."""
    made: dict[str, Any] = {}
    for name, field in schema["properties"].items():
        if name in SMALL:
            made[name] = SMALL[name]
        elif "default" in field:
            made[name] = field["default"]
        elif name in schema["required"]:
            made[name] = "attachment:0" if name.endswith("_url") else "a star"
    return made


def other_values(schema: dict[str, Any], name: str, value: Any) -> list[Any]:
    """Returns values of a field that its schema allows, other than `value`."""
    field = resolved(schema["properties"][name], schema.get("$defs", {}))
    values = [made for form in forms_of(field) for made in values_of(name, form, value)]
    return [made for made in values if made != value]


def resolved(form: Any, definitions: dict[str, Any]) -> Any:
    """Puts the definitions in the places that refer to them."""
    if isinstance(form, list):
        return [resolved(part, definitions) for part in form]
    if not isinstance(form, dict):
        return form
    if "$ref" in form:
        return resolved(definitions[form["$ref"].removeprefix("#/$defs/")], definitions)
    return {key: resolved(part, definitions) for key, part in form.items()}


def forms_of(form: dict[str, Any]) -> list[dict[str, Any]]:
    """Takes a union apart, whichever way it is written."""
    forms = []
    for branch in form.get("anyOf", [form]):
        types = branch.get("type")
        forms += [{**branch, "type": type} for type in (types if isinstance(types, list) else [types])]
    return forms


def values_of(name: str, form: dict[str, Any], value: Any) -> list[Any]:
    if name == "image_size":
        # The presets are far larger than tiny pipelines should paint.
        return [{"width": 80, "height": 48}, {"width": 64, "height": 64}]
    if "enum" in form:
        return list(form["enum"])
    match form.get("type"):
        case "boolean":
            return [True, False]
        case "integer" | "number":
            start = value if isinstance(value, int | float) else form.get("minimum", 0)
            low, high = form.get("minimum", start - 1), form.get("maximum", start + 1)
            near = [start + 1, start - 1, (start + high) / 2]
            return [next(made for made in near if low <= made <= high)]
        case "string" if name.endswith("_url"):
            return ["attachment:1"]
        case "string":
            return [f"{value or ''}, a large circle"]
        case "array":
            return [[made] for made in values_of(name, forms_of(form["items"])[0], None)]
        case "object":
            parts = {key: form["properties"][key] for key in form.get("required", form["properties"])}
            return [{key: values_of(key, forms_of(part)[0], None)[0] for key, part in parts.items()}]
        case "null":
            return []
    raise AssertionError(f"{name}: this test makes no value of {form}; teach it.")


def image_file(path: Path, color: str, width: int, height: int) -> InputFile:
    out = io.BytesIO()
    Image.new("RGB", (width, height), color).save(out, "PNG")
    path.write_bytes(out.getvalue())
    return InputFile(path, "image/png", len(out.getvalue()), hashlib.sha256(out.getvalue()).hexdigest())


def mentions(logs: list[tuple[str, str]], name: str) -> bool:
    return any(f"`{name}`" in message for _, message in logs)


def test_knows_the_pipelines_of_every_shipped_endpoint() -> None:
    assert set(INPUTS) == set(PIPELINES)


@pytest.mark.parametrize(
    ("endpoint", "kind"), [(endpoint, kind) for endpoint in PIPELINES for kind in PIPELINES[endpoint]]
)
def test_drops_no_field_in_silence(load: Any, runs: Any, tmp_path: Path, endpoint: str, kind: str) -> None:
    engine = load(kind)
    files = [
        # Its shape is none of the named ones, also after rounding.
        image_file(tmp_path / "wide.png", "red", 192, 60),
        image_file(tmp_path / "other.png", "blue", 64, 48),
    ]
    base = base_input(INPUTS[endpoint])
    plain = runs(engine, base, files=files)
    assert not any(UNKNOWN_FIELD in message for _, message in plain.logs)
    dropped = []
    for name in INPUTS[endpoint]["properties"]:
        values = other_values(INPUTS[endpoint], name, base.get(name))
        assert values, f"{name} has no other value"
        for value in values:
            if name in PLATFORM_FIELDS or mentions(plain.logs, name):
                continue
            try:
                ran = runs(engine, {**base, name: value}, files=files)
            except InputInvalid as invalid:
                assert [fault.loc[0] for fault in invalid.faults] == [name]
                continue
            if ran.digests == plain.digests and not mentions(ran.logs, name):
                dropped.append((name, value))
    assert dropped == []


def test_tells_of_a_field_that_no_runner_reads(load: Any, runs: Any) -> None:
    for kind in ("text-to-image", "text-to-video"):
        base = {**SMALL, "prompt": "a star", "acceleration": "none", "enable_safety_checker": False}
        ran = runs(load(kind), {**base, "camera_motion": "pan", "expert": None})
        assert ("WARN", f"`camera_motion` {UNKNOWN_FIELD}") in ran.logs
        assert not mentions(ran.logs, "expert")


@pytest.mark.parametrize("value", ["attachment:0", ["attachment:0"], [{"image": "attachment:0"}]])
def test_refuses_a_file_that_no_runner_reads(load: Any, runs: Any, tmp_path: Path, value: Any) -> None:
    file = image_file(tmp_path / "red.png", "red", 64, 48)
    for kind in ("text-to-image", "text-to-video", "image-to-video"):
        base = {**SMALL, "prompt": "a star", **({"image_url": "attachment:0"} if "image-" in kind else {})}
        with pytest.raises(InputInvalid) as raised:
            runs(load(kind), {**base, "mask": value}, files=[file])
        assert [(fault.loc, fault.type) for fault in raised.value.faults] == [
            (["mask"], "feature_not_supported")
        ]
