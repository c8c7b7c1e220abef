"""The engine of the example as a typed class, for the engine contract."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from gradient_engine import GradientEngine
from tempera_engine import Model, Progress, Run
from tempera_engine.predictor import FileOutput, Predictor, serve_predictor


@dataclass
class Input:
    side: Annotated[int, Field(ge=1, le=512)] = 64
    delay_ms: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0)] = 0


@dataclass
class Output:
    image: FileOutput
    seed: int


class TypedGradient(Predictor):
    runner = "gradient"
    artifact_types = ("image/bmp",)
    max_batch = 4
    supports_checkpoint = True

    def setup(self, model: Model, progress: Progress) -> None:
        self.engine = GradientEngine()
        self.engine.load(model, progress)

    def predict(self, input: Input, run: Run) -> Output:
        made: dict[str, Any] = self.engine.run(run)
        return Output(image=made["image"], seed=input.seed)


if __name__ == "__main__":
    serve_predictor(TypedGradient())
