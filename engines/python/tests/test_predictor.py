"""Typed engines: their schemas, their inputs, and a process of one."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field
from tempera_engine import File, InputInvalid, Run
from tempera_engine.predictor import FileInput, FileOutput, Predictor, schemas_of, write_schemas
from tempera_engine.testing import predict, set_up
from wire import started


@dataclass
class Size:
    width: int
    height: int


@dataclass
class Input:
    text_url: Annotated[FileInput, Field(description="The text.")]
    mode: Literal["loud", "quiet"] = "loud"
    times: Annotated[int, Field(ge=1, le=3)] = 1
    size: Size | None = None
    more_urls: Annotated[list[FileInput], Field(max_length=2)] = Field(default_factory=list)


@dataclass
class Output:
    file: FileOutput
    size: Size | None = None


class Shout(Predictor):
    runner = "shout"
    artifact_types = ("text/plain",)

    def predict(self, input: Input, run: Run) -> Output:
        texts = [file.path.read_text() for file in [input.text_url, *input.more_urls]]
        for step in range(input.times):
            run.progress(step + 1, input.times)
        text = " ".join(texts) * input.times
        loud = text.upper() if input.mode == "loud" else text
        return Output(file=run.artifact(File("text/plain", "a.txt"), loud.encode()), size=input.size)


class Untyped(Predictor):
    runner = "untyped"

    def predict(self, input, run):  # type: ignore[no-untyped-def]
        return {}


@dataclass
class Misnamed:
    nested: "list[Inner]"


@dataclass
class Inner:
    image: FileInput


class WithMisnamed(Predictor):
    runner = "misnamed"

    def predict(self, input: Misnamed, run: Run) -> Output:
        raise NotImplementedError


class WithoutFields(Predictor):
    runner = "bare"

    def predict(self, input: int, run: Run) -> Output:
        raise NotImplementedError


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "0", tmp_path / "1"]
    for path in paths:
        path.write_text(f"text {path.name}")
    return paths


def test_the_schemas_follow_from_the_types(tmp_path: Path) -> None:
    schemas = schemas_of(Shout)
    assert schemas["input"]["title"] == "ShoutInput"
    assert schemas["input"]["required"] == ["text_url"]
    assert schemas["input"]["x-fal-order-properties"] == ["text_url", "mode", "times", "size", "more_urls"]
    fields = schemas["input"]["properties"]
    assert fields["text_url"] == {"title": "Text Url", "type": "string", "description": "The text."}
    assert fields["mode"]["enum"] == ["loud", "quiet"]
    assert (fields["times"]["minimum"], fields["times"]["maximum"], fields["times"]["default"]) == (1, 3, 1)
    assert schemas["output"]["properties"]["file"]["required"] == ["url"]
    new = tmp_path / "new"
    assert write_schemas(Shout, new) == [new / "input.json", new / "output.json"]
    assert json.loads((new / "output.json").read_text()) == schemas["output"]


@pytest.mark.parametrize(
    ("predictor", "reason"),
    [
        (Untyped, "has no types; write `def predict"),
        (WithMisnamed, r"Inner\.image of WithMisnamed's input is a file, but only fields named …_url"),
        (WithoutFields, "must be a class with fields"),
    ],
)
def test_types_that_make_no_schema_are_refused_with_the_remedy(
    predictor: type[Predictor], reason: str
) -> None:
    with pytest.raises(TypeError, match=reason):
        schemas_of(predictor)


def test_predict_gets_typed_values_and_opened_files(files: list[Path]) -> None:
    shout = Shout()
    set_up(shout, files[0].parent)
    size = {"width": 1, "height": 2}
    inputs = {"text_url": "attachment:0", "more_urls": ["attachment:1"], "times": 2, "size": size}
    made = predict(shout, inputs, *files)
    assert made.files == [b"TEXT 0 TEXT 1TEXT 0 TEXT 1"]
    assert made.progress == [(1, 2), (2, 2)]
    assert made.output == {"file": {"$artifact": 0}, "size": size}


@pytest.mark.parametrize(
    ("change", "loc", "type"),
    [
        ({"times": 4}, ["times"], "less_than_equal"),
        ({"mode": "soft"}, ["mode"], "literal_error"),
        ({"text_url": "https://a.example/never-fetched"}, ["text_url"], "file_download_error"),
        ({"size": {"width": 1}}, ["size", "height"], "missing"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_by_its_field(
    files: list[Path], change: dict[str, Any], loc: list[str], type: str
) -> None:
    with pytest.raises(InputInvalid) as refused:
        predict(Shout(), {"text_url": "attachment:0", **change}, *files)
    assert [(fault.loc, fault.type) for fault in refused.value.faults] == [(loc, type)]


def test_a_process_serves_it(tmp_path: Path, files: list[Path]) -> None:
    program = tmp_path / "shout.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_predictor import Shout\n"
        "from tempera_engine.predictor import serve_predictor\n"
        "serve_predictor(Shout())\n"
    )
    with started(program, tmp_path) as client:
        assert [event.WhichOneof("event") for event in client.load(runner="shout")] == ["progress", "loaded"]
        given = [{"path": str(files[0]), "content_type": "text/plain", "bytes": 6, "sha256": ""}]
        events = client.run('{"text_url": "attachment:0"}', files=given)
        assert json.loads(events[-1].output.json) == {"file": {"$artifact": 0}, "size": None}
        faulty = client.run('{"text_url": "attachment:0", "times": 9}', files=given)
        assert json.loads(faulty[-1].error.faults_json)[0]["loc"] == ["body", "times"]
