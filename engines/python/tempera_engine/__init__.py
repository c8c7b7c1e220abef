"""
An engine for Tempera in Python: implement `Engine` and pass it to `serve`. README.md beside this package is a
walk through it.
"""

import sys

try:
    import grpc as _grpc  # noqa: F401
    import grpc_tools as _grpc_tools  # noqa: F401
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        f"{sys.executable} has no package {_missing.name}; install engines/python/requirements.txt into it, "
        "or set TEMPERA_PYTHON to a Python that has it."
    ) from None

from .engine import Capabilities, Engine, Model, Progress
from .errors import DeviceFault, EngineError, Fault, InputInvalid, RunCancelled
from .files import File, InputFile
from .memory import Memory
from .run import Run
from .serve import serve

__all__ = [
    "Capabilities",
    "DeviceFault",
    "Engine",
    "EngineError",
    "Fault",
    "File",
    "InputFile",
    "InputInvalid",
    "Memory",
    "Model",
    "Progress",
    "Run",
    "RunCancelled",
    "serve",
]
