from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judged import judge
from tempera_engine import Engine, Model


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a tiny pipeline folder of each kind once."""
    import tiny_pipelines

    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind) / "model"
            tiny_pipelines.save(kind, made[kind])
        return made[kind]

    return folder


PARAMETERS = {"device": "cpu", "threads": 1, "resolutions": {"480p": [64, 48], "720p": [96, 64]}}


KINDS = {
    "text-to-image": ("text-to-image", "text-to-image"),
    "image-to-image": ("text-to-image", "image-to-image"),
    "image-edit": ("image-edit", "image-to-image"),
    "image-edit-plus": ("image-edit-plus", "image-to-image"),
}
"""The folder and the runner of an engine; any other kind is a folder of `wan_video`."""


@pytest.fixture(scope="session")
def load(pipeline_folder: Callable[[str], Path]) -> Callable[..., Engine]:
    """Loads a diffusers engine with a tiny pipeline; each kind has one engine."""
    from tempera_diffusers.engine import DiffusersEngine

    loaded: dict[str, Engine] = {}

    def engine(kind: str) -> Engine:
        if kind not in loaded:
            folder, runner = KINDS.get(kind, (kind, "wan_video"))
            loaded[kind] = DiffusersEngine()
            loaded[kind].load(
                Model("acme/tiny", "1.0.0", runner, pipeline_folder(folder), PARAMETERS), lambda *_: None
            )
        return loaded[kind]

    return engine


@pytest.fixture
def runs() -> Any:
    """`runs(engine, input, …)` runs an input without the protocol; see `judged.py`."""
    return judge
