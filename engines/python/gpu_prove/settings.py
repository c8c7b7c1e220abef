"""Settings of a phase."""

from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Settings:
    device_name: str
    small: bool
    """Tiny networks and sizes, so that every line of the code runs on a CPU within seconds."""
    compiles: bool
    out: Path

    @property
    def device(self) -> torch.device:
        return torch.device(self.device_name)

    @property
    def side(self) -> int:
        """Width and height of images, in pixels."""
        return 64 if self.small else 1024

    @property
    def frames(self) -> int:
        return 17 if self.small else 81

    @property
    def resolutions(self) -> dict[str, list[int]]:
        if self.small:
            return {"480p": [64, 48], "720p": [96, 64]}
        return {"480p": [832, 480], "720p": [1280, 720]}
