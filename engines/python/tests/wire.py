"""Starts an engine's process and calls it as a GPU worker does."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from tempera_engine.contract import MESSAGES, SERVICE

ROOT = Path(__file__).resolve().parent.parent


class Client:
    def __init__(self, channel: grpc.Channel, process: subprocess.Popen[bytes]) -> None:
        self.process = process

        def call(kind: str, name: str, request: str, reply: str) -> Any:
            return getattr(channel, kind)(
                f"/{SERVICE}/{name}",
                request_serializer=MESSAGES[request].SerializeToString,
                response_deserializer=MESSAGES[reply].FromString,
            )

        self._load = call("unary_stream", "Load", "LoadRequest", "LoadEvent")
        self._run = call("stream_stream", "Run", "RunRequest", "RunEvent")
        self._health = call("unary_unary", "Health", "HealthRequest", "HealthReply")

    def load(self, **request: Any) -> list[Any]:
        return list(
            self._load(
                MESSAGES["LoadRequest"](
                    **{"runner": "any", "endpoint": "acme/any", "version": "1.0.0", **request}
                ),
                timeout=60,
            )
        )

    def open(self, input_json: str, *, chunks: list[bytes] | None = None, **start: Any) -> Any:
        """
        Opens a run.

        :param chunks: chunks of the checkpoint that `start` announces by `checkpoint`
        """

        def messages() -> Iterator[Any]:
            yield MESSAGES["RunRequest"](
                start=MESSAGES["RunStart"](request_id="request", attempt=1, input_json=input_json, **start)
            )
            for chunk in chunks or []:
                yield MESSAGES["RunRequest"](checkpoint_chunk=MESSAGES["CheckpointChunk"](data=chunk))

        return self._run(messages(), timeout=60)

    def run(self, input_json: str = "{}", **start: Any) -> list[Any]:
        return list(self.open(input_json, **start))

    def health(self) -> Any:
        return self._health(MESSAGES["HealthRequest"](), timeout=5)


@contextmanager
def started(program: Path, folder: Path) -> Iterator[Client]:
    socket = folder / "s"
    environment = {**os.environ, "TEMPERA_PYTHON": sys.executable}
    command = [str(ROOT / "start.sh"), str(program), str(socket)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    try:
        options = [("grpc.max_receive_message_length", 64 * 2**20)]
        with grpc.insecure_channel(f"unix:{socket}", options=options) as channel:
            grpc.channel_ready_future(channel).result(20)
            yield Client(channel, process)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stderr):
            if pipe:
                pipe.close()
