"""
`engine.proto` for Python: its messages and the name of its service, built from the file when this module is
imported.

There is no generated code that could become stale. The one source is `src/gpu-workers/contract/engine.proto`
of the repository; an installed package contains a copy that its build made (setup.py).
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

HERE = Path(__file__).resolve().parent

SERVICE = "tempera.engine.v1.Engine"

CHUNK_BYTES_MAX = 256 * 1024
"""Largest chunk of a file or a checkpoint on the wire."""

CHECKPOINT_BYTES_MAX = 256 * 1024 * 1024
"""Largest checkpoint, including its header."""

PREVIEW_BYTES_MAX = 48 * 1024
"""Largest preview, as an image file."""

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""Largest message: JSON inputs, with base64 inside, may be as large as a request body."""


def _proto_file() -> Path:
    paths = [HERE.parents[2] / "src" / "gpu-workers" / "contract" / "engine.proto", HERE / "engine.proto"]
    for path in paths:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"engine.proto is at none of {', '.join(map(str, paths))}; "
        "install the package with pip, from the repository."
    )


def _load_messages() -> dict[str, Any]:
    proto = _proto_file()
    with TemporaryDirectory() as folder:
        compiled = Path(folder) / "engine.descriptors"
        status = protoc.main(
            ["protoc", f"--proto_path={proto.parent}", f"--descriptor_set_out={compiled}", proto.name]
        )
        if status != 0:
            raise RuntimeError(f"{proto} cannot be compiled; protoc printed the reason above.")
        files = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    classes = message_factory.GetMessageClassesForFiles([file.name for file in files.file], pool)
    return {name.removeprefix("tempera.engine.v1."): message for name, message in classes.items()}


MESSAGES = _load_messages()
"""Message classes by name: `MESSAGES["RunEvent"](started=MESSAGES["Started"]())`."""
