"""Runs the engine of the README as it is printed there, and checks what the README says of installing."""

import json
import re
import tomllib
from pathlib import Path

from wire import ROOT, started


def test_runs_the_engine_of_the_readme(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    program = tmp_path / "my_engine.py"
    program.write_text(code)
    with started(program, tmp_path) as client:
        assert [
            event.WhichOneof("event")
            for event in client.load(runner="shout", parameters_json='{"mark": "?"}')
        ] == ["progress", "loaded"]
        events = client.run('{"prompt": "hello there"}')
        assert [event.progress.step for event in events if event.WhichOneof("event") == "progress"] == [1, 2]
        assert json.loads(events[-1].output.json) == {"text": "HELLO? THERE?", "file": {"$artifact": 0}}
        assert client.run('{"prompt": " "}')[-1].error.code == "input_invalid"


def test_installs_every_package_of_the_folder() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    found = [
        ".".join(path.parent.relative_to(ROOT).parts)
        for name in ("tempera_engine", "tempera_diffusers")
        for path in (ROOT / name).rglob("__init__.py")
    ]
    assert sorted(tools["setuptools"]["packages"]) == sorted(found)
