"""
Copies the engine contract into the package: the one source of `engine.proto` lies outside of this folder.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONTRACT = Path(__file__).resolve().parents[2] / "src" / "gpu-workers" / "contract" / "engine.proto"


class BuildWithContract(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copy(CONTRACT, Path(self.build_lib) / "tempera_engine" / "engine.proto")


setup(cmdclass={"build_py": BuildWithContract})
