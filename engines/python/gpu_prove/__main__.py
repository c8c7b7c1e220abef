"""
`python -m gpu_prove` measures all phases, each in a process of its own, which gives its memory back;
`python -m gpu_prove qwen` measures one. Beside this folder's parent, its `tests` must be on the path.
"""

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path

PHASES = {"qwen": 280, "wan": 280, "cold": 120}
"""Seconds after which a phase begins no further measure. An H200 was reckoned to need less."""

NO_GPU = (
    "gpu:prove: torch sees no CUDA device, so nothing was measured; run it on a machine with a GPU, "
    "or try the same code on this CPU with --small."
)


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0, also where no GPU is or a measure failed; 1 when a phase ended early."""
    parser = argparse.ArgumentParser(prog="gpu:prove")
    parser.add_argument("phase", nargs="?", choices=list(PHASES), help="one phase; all by default")
    parser.add_argument("--small", action="store_true", help="tiny networks on a CPU, to try the code")
    parser.add_argument("--device", default="", help="cuda:0 by default; cpu with --small")
    parser.add_argument("--out", type=Path, default=Path("gpu-prove"), help="folder of the results")
    parser.add_argument("--until", type=float, default=0, help="seconds for a phase")
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled blocks out")
    given = parser.parse_args(arguments)
    device = given.device or ("cpu" if given.small else "cuda:0")
    if device.startswith("cuda") and not _has_gpu():
        print(NO_GPU, flush=True)
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    if given.phase is None:
        return max([_run_alone(phase, arguments) for phase in PHASES])
    return _measure_phase(given, device)


def _measure_phase(given: argparse.Namespace, device: str) -> int:
    import torch

    from .report import Report
    from .settings import Settings

    settings = Settings(device, given.small, not given.no_compile, given.out)
    report = Report(given.phase, settings, given.until or PHASES[given.phase])
    report.facts()
    if given.small:
        # Threads cost more than they bring here.
        torch.set_num_threads(1)
    try:
        importlib.import_module(f".{given.phase}_phase", __package__).measure(report, settings)
    except Exception as error:
        report.say("end", error=f"{type(error).__name__}: {str(error)[:300]}")
        return 1
    report.say("end", **report.memory())
    return 0


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _run_alone(phase: str, arguments: list[str]) -> int:
    return 1 if subprocess.run([sys.executable, "-m", "gpu_prove", phase, *arguments]).returncode else 0


if __name__ == "__main__":
    os.environ.update({"DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"})
    # Sizes change from measure to measure; without it the memory falls to pieces.
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    sys.exit(main(sys.argv[1:]))
