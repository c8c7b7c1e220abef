"""Messages for an operator who has not installed the packages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tempera_engine import Model

ROOT = Path(__file__).resolve().parent.parent


def test_a_python_without_grpc_says_so_in_its_last_line() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # -S hides all installed packages.
    ended = subprocess.run(
        [sys.executable, "-S", "-m", "tempera_diffusers", "/tmp/s"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.endswith(
        "has no package grpc; install engines/python/requirements.txt into it, "
        "or set TEMPERA_PYTHON to a Python that has it."
    )


def test_a_load_without_torch_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [
        name
        for name in sys.modules
        if name.startswith("tempera_diffusers.") and name != "tempera_diffusers.engine"
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    from tempera_diffusers.engine import DiffusersEngine

    with pytest.raises(
        ModuleNotFoundError, match="has no package diffusers; install engines/python/requirements.txt"
    ):
        DiffusersEngine().load(Model("acme/tiny", "1.0.0", "text-to-image", tmp_path), lambda *_: None)
