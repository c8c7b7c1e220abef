"""Run by `.venv/bin/pytest`, without a platform."""

import json
from pathlib import Path

import pytest
from engine import MyEngine
from tempera_engine import InputInvalid
from tempera_engine.predictor import schemas_of
from tempera_engine.testing import predict, set_up

MODEL = Path(__file__).parent / "model"


@pytest.fixture
def engine() -> MyEngine:
    made = MyEngine()
    set_up(made, MODEL, {"mark": "!"})
    return made


def test_makes_a_text_loud(engine: MyEngine, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("hello\nyou")
    made = predict(engine, {"text_url": "attachment:0", "volume": 2}, text)
    assert made.output == {"text": {"$artifact": 0}, "lines": 2}
    assert made.files == [b"HELLO!!\nYOU!!"]
    assert made.progress == [(1, 2), (2, 2)]


def test_refuses_what_is_no_text(engine: MyEngine, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"\x89PNG\xff")
    with pytest.raises(InputInvalid, match="does not fit") as refused:
        predict(engine, {"text_url": "attachment:0"}, image)
    assert refused.value.faults[0].loc == ["text_url"]


def test_the_schemas_are_those_of_the_types() -> None:
    for name, schema in schemas_of(MyEngine).items():
        assert json.loads((MODEL / "schemas" / f"{name}.json").read_text()) == schema
