"""A smoke test: all that `npm run gpu:prove` measures on a GPU, with tiny networks on a CPU."""

import json
from pathlib import Path
from typing import Any

import pytest
from gpu_prove import __main__ as gpu_prove
from gpu_prove.report import Report
from gpu_prove.settings import Settings

MEASURES = {
    "qwen": [
        *["facts", "built", "bare step", "stages", "engine step", "checkpoint", "cancel", "attention"],
        *["large request", "after it", "end"],
    ],
    "wan": ["facts", "built", "pass", "decode", "engine run", "cancel", "host to device", "end"],
    "cold": ["facts", "saved", "load", "end"],
}


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("phase", list(MEASURES))
def test_measures_all_of_a_phase(tmp_path: Path, capsys: pytest.CaptureFixture[str], phase: str) -> None:
    arguments = [phase, "--small", "--no-compile", "--out", str(tmp_path), "--until", "3600"]
    assert gpu_prove.main(arguments) == 0
    said = lines(tmp_path / f"{phase}.jsonl")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")] == said
    assert [line for line in said if "error" in line or "skipped" in line] == []
    assert list(dict.fromkeys(line["what"] for line in said)) == MEASURES[phase]
    by_name = {line["what"]: line for line in said}
    if phase == "qwen":
        assert by_name["checkpoint"]["sameBytesAfterResume"]
        assert by_name["after it"]["works"]
    if phase == "wan":
        assert by_name["engine run"]["sameFramesAfterResume"]
        assert by_name["engine run"]["frames"] == 17
    if phase == "cold":
        assert {line["way"] for line in said if line["what"] == "load"} == {
            "host first",
            "device_map",
            "safetensors",
        }
    else:
        assert by_name["cancel"]["cancelled"]


def test_says_why_a_measure_failed_or_was_left_out_and_goes_on(tmp_path: Path) -> None:
    report = Report("qwen", Settings("cpu", True, False, tmp_path), until=60)

    def fail() -> None:
        raise RuntimeError("no kernel image is available")

    report.measure("bare step", fail, seconds=1)
    report.measure("stages", lambda: report.say("stages", ms=1), seconds=1)
    report.measure("compiled", fail, seconds=100)
    assert [{key: line[key] for key in line if key != "at"} for line in lines(tmp_path / "qwen.jsonl")] == [
        {"what": "bare step", "error": "RuntimeError: no kernel image is available"},
        {"what": "stages", "ms": 1},
        {"what": "compiled", "skipped": "fewer than 100 of 60 seconds are left"},
    ]


def test_says_in_one_line_that_there_is_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_prove, "_has_gpu", lambda: False)
    assert gpu_prove.main(["--out", str(tmp_path / "results")]) == 0
    assert capsys.readouterr().out == f"{gpu_prove.NO_GPU}\n"
    assert not (tmp_path / "results").exists()
