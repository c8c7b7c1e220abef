"""
An engine as one class with typed input and output: `setup` loads, `predict` runs. The public schemas follow
from the types.

    @dataclass
    class Input:
        image_url: FileInput
        strength: Annotated[float, Field(ge=0, le=1, description="0 leaves the image as it is.")] = 0.5

    @dataclass
    class Output:
        image: FileOutput

    class Blur(Predictor):
        runner = "blur"

        def predict(self, input: Input, run: Run) -> Output: ...

    if __name__ == "__main__":
        serve_predictor(Blur())

The types are what pydantic takes: dataclasses, its own models, and what they are made of.
"""

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_type_hints

try:
    from pydantic import PlainValidator, TypeAdapter, ValidationError, ValidationInfo, WithJsonSchema
    from pydantic_core import PydanticCustomError
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        f"{sys.executable} has no package {_missing.name}, which typed engines need; "
        "install tempera-engine[typed]."
    ) from None

from .engine import Capabilities, Engine, Model, Progress
from .errors import EngineError, Fault, InputInvalid
from .files import InputFile
from .memory import Memory, host_memory
from .run import Run
from .serve import serve

DIALECT = "https://json-schema.org/draft/2020-12/schema"

FILE_MARK = "x-tempera-file"
"""Marks a file of an input until the names of fields have been checked."""


def _fetched(value: Any, info: ValidationInfo) -> InputFile:
    run = info.context
    file = run.input_file(value) if isinstance(run, Run) else None
    if file is None:
        raise PydanticCustomError("file_download_error", "Input should be the URL of a file")
    return file


FileInput = Annotated[
    InputFile, PlainValidator(_fetched), WithJsonSchema({"type": "string", FILE_MARK: True})
]
"""
A file that the caller names by its URL; `predict` gets it fetched. The field's name ends in `_url`, or in
`_urls` for a list of them.
"""

FileOutput = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "title": "File",
            "type": "object",
            "required": ["url"],
            "properties": {
                "url": {"type": "string", "description": "The URL where the file can be downloaded from."},
                "content_type": {"type": ["string", "null"], "description": "The mime type of the file."},
                "file_name": {"type": ["string", "null"], "description": "The name of the file."},
                "file_size": {"type": ["integer", "null"], "description": "The size of the file in bytes."},
            },
        }
    ),
]
"""A produced file: what `Run.artifact` returned. The caller gets fal's object of a file."""


class Predictor(ABC):
    """
    The class to implement. A process makes one, sets it up for one model version, and predicts until the GPU
    worker goes away. Both methods may block: they run in threads of their own.
    """

    runner: ClassVar[str]
    """The kind of inference: `runner:` of the manifest."""
    artifact_types: ClassVar[tuple[str, ...]] = ()
    """Media types of the files that it produces."""
    max_batch: ClassVar[int] = 1
    """Largest number of simultaneous predictions, each in a thread of its own."""
    supports_checkpoint: ClassVar[bool] = False
    """`predict` calls `Run.checkpoint` and `Run.resume`."""
    checkpoint_format: ClassVar[str] = "1"
    """Part of every checkpoint; change it whenever the bytes given to `Run.checkpoint` change."""

    def setup(self, model: Model, progress: Progress) -> None:
        """
        Loads the model version. Import heavy packages here. Raise any exception when it cannot be loaded: its
        text names the file or the parameter, the reason and the remedy.
        """
        progress(1, "nothing to load")

    @abstractmethod
    def predict(self, input: Any, run: Run) -> Any:
        """
        Runs one request. The annotations of `input` and of the result are the types of the public schemas.

        Must call a method of `run` (`progress`, `check`, …) at least every 300 ms: a cancel takes effect
        there.
        """

    def memory(self) -> Memory:
        """Returns the memory of the device and the part that this process holds."""
        return host_memory()


@dataclass(frozen=True)
class Types:
    """The types of a predictor."""

    input: TypeAdapter[Any]
    output: TypeAdapter[Any]


def types_of(predictor: type[Predictor]) -> Types:
    """
    Reads the annotations of `predict`. Raises `TypeError` with the remedy when one is missing, or when a file
    is in a field whose name does not say so.
    """
    hints = get_type_hints(predictor.predict, include_extras=True)
    given = {name: hint for name, hint in hints.items() if name != "run"}
    if set(given) != {"input", "return"} or Any in given.values():
        raise TypeError(
            f"{predictor.__name__}.predict has no types; write "
            "`def predict(self, input: Input, run: Run) -> Output`, with classes of yours."
        )
    types = Types(TypeAdapter(given["input"]), TypeAdapter(given["return"]))
    for path in _misnamed(types.input.json_schema()):
        raise TypeError(
            f"{path} of {predictor.__name__}'s input is a file, but only fields named …_url and …_urls are "
            "fetched; rename it."
        )
    return types


def schemas_of(predictor: type[Predictor]) -> dict[str, dict[str, Any]]:
    """
    Returns the public schemas, `input` and `output`.

    >>> schemas_of(Blur)["input"]["required"]
    ['image_url']
    """
    types = types_of(predictor)
    return {
        "input": _public(types.input.json_schema(), f"{predictor.__name__}Input"),
        "output": _public(types.output.json_schema(mode="serialization"), f"{predictor.__name__}Output"),
    }


def write_schemas(predictor: type[Predictor], folder: Path) -> list[Path]:
    """Writes `input.json` and `output.json` into the folder, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, schema in schemas_of(predictor).items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
        written.append(path)
    return written


class PredictorEngine(Engine):
    """Serves a predictor as an engine."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._types = types_of(type(predictor))
        self.checkpoint_format = predictor.checkpoint_format

    def describe(self) -> Capabilities:
        predictor = self._predictor
        return Capabilities(
            runners=[predictor.runner],
            artifact_types=list(predictor.artifact_types),
            max_batch=predictor.max_batch,
            supports_checkpoint=predictor.supports_checkpoint,
        )

    def load(self, model: Model, progress: Progress) -> None:
        self._predictor.setup(model, progress)

    def run(self, run: Run) -> dict[str, Any]:
        try:
            value = self._types.input.validate_python(dict(run.input), context=run)
        except ValidationError as error:
            raise InputInvalid(
                [Fault(list(fault["loc"]), fault["msg"], fault["type"]) for fault in error.errors()]
            ) from None
        output = self._types.output.dump_python(self._predictor.predict(value, run), mode="json")
        if not isinstance(output, dict):
            raise EngineError("runner_server_error", "The output of this engine is no object.")
        return output

    def memory(self) -> Memory:
        return self._predictor.memory()


def serve_predictor(predictor: Predictor) -> None:
    """
    Serves a predictor until the GPU worker goes away: `engine.py <socket>`. `engine.py --schemas <folder>`
    writes its schemas instead.
    """
    if len(sys.argv) == 3 and sys.argv[1] == "--schemas":
        for path in write_schemas(type(predictor), Path(sys.argv[2])):
            print(path)
        return
    serve(PredictorEngine(predictor))


def _public(schema: dict[str, Any], title: str) -> dict[str, Any]:
    """Adds what the platform and fal's clients read: the dialect and the order of the fields."""
    properties = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(properties, dict):
        raise TypeError(f"{title} must be a class with fields; annotate `predict` with a dataclass.")
    head = {"$schema": DIALECT, "title": title, "x-fal-order-properties": list(properties)}
    return {**head, **_unmarked({**schema, "title": title})}


def _unmarked(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_unmarked(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _unmarked(value) for key, value in schema.items() if key != FILE_MARK}


def _misnamed(schema: Any, name: str = "", path: str = "") -> Iterator[str]:
    """Yields the paths of files whose field the platform does not fetch."""
    if isinstance(schema, list):
        for item in schema:
            yield from _misnamed(item, name, path)
    if not isinstance(schema, Mapping):
        return
    if schema.get(FILE_MARK) and not name.endswith(("_url", "_urls")):
        yield path or "the whole"
    for key, value in schema.items():
        if key in ("properties", "$defs") and isinstance(value, Mapping):
            for field, item in value.items():
                yield from _misnamed(item, field, f"{path}.{field}".lstrip("."))
        elif isinstance(value, Mapping | list):
            yield from _misnamed(value, name, path)
