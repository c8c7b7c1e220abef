"""Start and end of an engine's process."""

import asyncio
import os
import sys
import threading

from .engine import Engine
from .logs import log_to_stderr
from .server import start_server


def serve(engine: Engine, socket: str | None = None) -> None:
    """
    Serves the engine on a Unix socket until stdin ends: then the GPU worker is gone, and the process exits at
    once, whatever it is doing.

    :param socket: path of the socket; the last argument of the command line by default
    """
    path = socket or (sys.argv[-1] if len(sys.argv) > 1 else "")
    if not path:
        sys.exit("usage: <this engine> <path of the Unix socket to serve>")
    log_to_stderr()
    threading.Thread(target=_exit_with_parent, name="stdin", daemon=True).start()
    asyncio.run(_serve(engine, path))


async def _serve(engine: Engine, path: str) -> None:
    server = await start_server(engine, path)
    await server.wait_for_termination()


def _exit_with_parent() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    # sys.exit would wait for the threads that compute.
    os._exit(0)
