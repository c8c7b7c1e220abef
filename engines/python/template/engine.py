"""
The engine `my-engine`: reads a text and gives it back, louder. Put your model into `setup` and `predict`.

After a change of the types: `.venv/bin/python engine.py --schemas model/schemas`.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from tempera_engine import Fault, File, InputInvalid, Model, Progress, Run
from tempera_engine.predictor import FileInput, FileOutput, Predictor, serve_predictor


@dataclass
class Input:
    text_url: Annotated[FileInput, Field(description="The text, in UTF-8.")]
    volume: Annotated[int, Field(ge=1, le=11, description="Marks of exclamation after each line.")] = 3


@dataclass
class Output:
    text: Annotated[FileOutput, Field(description="The text, loud.")]
    lines: Annotated[int, Field(description="Number of its lines.")]


class MyEngine(Predictor):
    runner = "my-engine"
    artifact_types = ("text/plain",)

    def setup(self, model: Model, progress: Progress) -> None:
        # Called once. Import heavy packages here, and read the weights from `model.folder`;
        # `model.parameters` are the parameters of the manifest.
        self.mark = str(model.parameters.get("mark", "!"))
        progress(1, "the mark")

    def predict(self, input: Input, run: Run) -> Output:
        try:
            lines = input.text_url.path.read_text("utf-8").splitlines()
        except UnicodeDecodeError:
            raise InputInvalid([Fault(["text_url"], "The file is no text in UTF-8", "value_error")]) from None
        loud = []
        for step, line in enumerate(lines, start=1):
            loud.append(line.upper() + self.mark * input.volume)
            # A cancel takes effect here: report at least every 300 ms, or call `run.check()`.
            run.progress(step, len(lines))
        file = run.artifact(File("text/plain", "loud.txt"), "\n".join(loud).encode())
        return Output(text=file, lines=len(lines))


if __name__ == "__main__":
    serve_predictor(MyEngine())
