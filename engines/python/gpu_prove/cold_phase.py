"""Loading: a transformer of the size of Wan 2.2 5B from the local disk, in three ways."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from diffusers import WanTransformer3DModel
from safetensors.torch import load_file

from .networks import DTYPE, billions, made_on
from .report import GIB, Report
from .settings import Settings

SIZES = {
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "in_channels": 48,
    "out_channels": 48,
    "ffn_dim": 14336,
    "num_layers": 30,
}
SMALL = {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 32, "num_layers": 2, "text_dim": 32}


def measure(report: Report, settings: Settings) -> None:
    with TemporaryDirectory(prefix="gpu-prove-", dir=settings.out) as name:
        _measure_in(Path(name), report, settings)


def _measure_in(folder: Path, report: Report, settings: Settings) -> None:
    sizes = SMALL if settings.small else SIZES
    network = made_on(settings.device, lambda: WanTransformer3DModel(**sizes))
    seconds = report.seconds(lambda: network.save_pretrained(folder, max_shard_size="5GB"))
    files = sorted(folder.glob("*.safetensors"))
    gib = sum(file.stat().st_size for file in files) / GIB
    report.say("saved", s=round(seconds, 1), billions=billions(network), gib=round(gib, 2))
    del network
    report.free()
    device = str(settings.device)
    load = WanTransformer3DModel.from_pretrained
    ways: dict[str, Callable[[], Any]] = {
        "host first": lambda: load(folder, dtype=DTYPE).to(device),
        "device_map": lambda: load(folder, dtype=DTYPE, device_map=device),
        "safetensors": lambda: [load_file(file, device=device) for file in files],
    }
    for way, work in ways.items():
        report.measure("load", partial(_load, report, way, work, gib, drops=not settings.small), seconds=30)


def _load(report: Report, way: str, work: Callable[[], Any], gib: float, *, drops: bool) -> None:
    """
    Loads with the files out of memory, and in it.

    :param drops: the system is asked to drop the files that it keeps in memory, also those of others
    """
    for warm in (False, True):
        cached = warm or not (drops and _drop_cached_files())
        seconds = report.seconds(work)
        facts = {"way": way, "cached": cached, "gibPerS": round(gib / seconds, 2)}
        report.say("load", **facts, s=round(seconds, 2))
        report.free()


def _drop_cached_files() -> bool:
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True
