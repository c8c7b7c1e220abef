"""An engine for Tempera in Python: fill in `Engine`, hand it to `serve`. README.md beside this package walks through it."""

from .engine import Capabilities, Engine, Model, Progress
from .errors import EngineError, Fault, InputInvalid, RunCancelled
from .files import File, InputFile
from .memory import Memory
from .run import Run
from .serve import serve

__all__ = [
    "Capabilities",
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
