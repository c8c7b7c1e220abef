"""
Serves `engine.proto` for an `Engine`. The protocol runs on the thread of the event loop, the work in other
threads.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from .checkpoint import CheckpointOwner, input_digest
from .contract import CHECKPOINT_BYTES_MAX, MESSAGE_BYTES_MAX, MESSAGES, SERVICE
from .engine import Engine, Model
from .errors import DeviceFault, EngineError, Fault, InputInvalid, RunCancelled
from .files import InputFile
from .run import CheckpointPolicy, Run
from .slots import Slots

EVENTS_WAITING_MAX = 16
"""Events of one run that may wait to be sent before its thread waits too. 16 chunks of a file are 4 MiB."""

EXIT_DEVICE_FAULT = 70
"""Exit code of a process whose device faulted in a run that was cancelled."""

log = logging.getLogger("tempera_engine")


async def start_server(engine: Engine, socket: str) -> grpc.aio.Server:
    """Serves the engine on a Unix socket. Returns when it accepts connections."""
    options = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((_EngineService(engine).handlers(),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    return server


class _EngineService:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._slots = Slots(1)
        self._state = "empty"
        self._model_digest = ""
        self._policy = CheckpointPolicy()
        # The load and all runs use threads of this pool. The thread of the event loop stays free to answer
        # health.
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="run")
        # The event loop itself holds only weak references to its tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    def handlers(self) -> grpc.GenericRpcHandler:
        def message(name: str) -> dict[str, Callable[[bytes], Any]]:
            return {"request_deserializer": MESSAGES[name].FromString}

        def reply(name: str) -> dict[str, Callable[[Any], bytes]]:
            return {"response_serializer": MESSAGES[name].SerializeToString}

        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Describe": grpc.unary_unary_rpc_method_handler(
                    self.describe, **message("DescribeRequest"), **reply("Capabilities")
                ),
                "Load": grpc.unary_stream_rpc_method_handler(
                    self.load, **message("LoadRequest"), **reply("LoadEvent")
                ),
                "Run": grpc.stream_stream_rpc_method_handler(
                    self.run, **message("RunRequest"), **reply("RunEvent")
                ),
                "Health": grpc.unary_unary_rpc_method_handler(
                    self.health, **message("HealthRequest"), **reply("HealthReply")
                ),
            },
        )

    async def describe(self, _request: Any, _context: Any) -> Any:
        can = self._engine.describe()
        return MESSAGES["Capabilities"](
            runners=can.runners,
            supports_streaming=can.supports_streaming,
            artifact_types=can.artifact_types,
            max_batch=can.max_batch,
            supports_checkpoint=can.supports_checkpoint,
            memory=self._memory(),
        )

    async def health(self, _request: Any, _context: Any) -> Any:
        return MESSAGES["HealthReply"](
            loaded=self._state == "loaded",
            running=self._slots.running,
            waiting=self._slots.waiting,
            memory=self._memory(),
        )

    async def load(self, request: Any, context: Any) -> None:
        if self._state != "empty":
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, "This engine has its model version already."
            )
        can = self._engine.describe()
        if request.runner not in can.runners:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, f'This engine has no runner "{request.runner}".'
            )
        self._state = "loading"
        try:
            slots = max(1, min(request.slots, can.max_batch))
            self._slots = Slots(slots)
            self._threads = ThreadPoolExecutor(max_workers=slots, thread_name_prefix="run")
            model = Model(
                endpoint=request.endpoint,
                version=request.version,
                runner=request.runner,
                folder=Path(request.folder),
                parameters=_parse_parameters(request.parameters_json),
                slots=slots,
            )
            async for event in self._loading(model):
                await context.write(event)
        except Exception as error:
            self._state = "empty"
            log.exception("The model version cannot be loaded.")
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, _message_of(error))
        self._model_digest = f"{request.endpoint} {request.version} {request.digest}"
        if request.HasField("checkpoint"):
            self._policy = CheckpointPolicy(request.checkpoint.every_steps, request.checkpoint.every_seconds)
        self._state = "loaded"
        await context.write(MESSAGES["LoadEvent"](loaded=MESSAGES["Loaded"](memory=self._memory())))

    async def _loading(self, model: Model) -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Any] = asyncio.Queue()

        def progress(fraction: float, loaded: str) -> None:
            event = MESSAGES["LoadEvent"](progress=MESSAGES["LoadProgress"](fraction=fraction, says=loaded))
            loop.call_soon_threadsafe(events.put_nowait, event)

        work = loop.run_in_executor(self._threads, self._engine.load, model, progress)
        # The end of the work wakes the reader after all progress before it.
        work.add_done_callback(lambda _: events.put_nowait(None))
        while (event := await events.get()) is not None:
            yield event
        await work

    async def run(self, requests: AsyncIterator[Any], context: Any) -> None:
        start, checkpoint = await _read_start(requests, context)
        if self._state != "loaded":
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "Nothing is loaded.")
        if start.HasField("session"):
            refused = EngineError("runner_server_error", "This engine has no realtime sessions.")
            await context.write(_error_event(refused))
            return
        # Cancelling the call ends this coroutine while it waits.
        await self._slots.acquire()
        await self._answer(start, checkpoint, context)

    async def _answer(self, start: Any, checkpoint: bytes | None, context: Any) -> None:
        """Works on a run that has its slot, and releases the slot when the work has really ended."""
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Any] = asyncio.Queue(maxsize=EVENTS_WAITING_MAX)

        def emit(event: Any) -> None:
            asyncio.run_coroutine_threadsafe(events.put(event), loop).result()

        run: Run | None = None
        try:
            await context.write(MESSAGES["RunEvent"](started=MESSAGES["Started"]()))
            run = self._make_run(start, checkpoint, emit)
            work = loop.run_in_executor(self._threads, self._work, run, emit)
            work.add_done_callback(lambda _: self._slots.release())
            work.add_done_callback(lambda _: self._spawn(events.put(None)))
            while (event := await events.get()) is not None:
                await context.write(event)
        except EngineError as error:
            self._slots.release()
            await context.write(_error_event(error))
        except BaseException:
            if run is None:
                self._slots.release()
            else:
                run._cancel()
                # The thread may be waiting to send an event. Nobody reads events any more, so they are
                # discarded.
                self._spawn(_drain(events))
            raise

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _make_run(self, start: Any, checkpoint: bytes | None, emit: Callable[[Any], None]) -> Run:
        value = _parse_input(start.input_json)
        files = [
            InputFile(Path(file.path), file.content_type, file.bytes, file.sha256) for file in start.files
        ]
        stores_checkpoints = start.checkpoints and self._engine.describe().supports_checkpoint
        return Run(
            request_id=start.request_id,
            attempt=start.attempt,
            input_value=value,
            files=files,
            previews=start.previews,
            owner=CheckpointOwner(
                self._model_digest, input_digest(value, files), self._engine.checkpoint_format
            ),
            policy=self._policy if stores_checkpoints else None,
            checkpoint=checkpoint,
            emit=emit,
        )

    def _work(self, run: Run, emit: Callable[[Any], None]) -> None:
        """Runs in a thread. The last event is the output or the error; after a cancel there is neither."""
        began = time.monotonic()
        try:
            output = self._engine.run(run)
            inference_ms = (time.monotonic() - began) * 1000
            # Compact JSON: a worker looks for the text {"$artifact":0} in it.
            text = json.dumps(output, separators=(",", ":"), allow_nan=False)
            last = MESSAGES["RunEvent"](output=MESSAGES["Output"](json=text, inference_ms=inference_ms))
        except RunCancelled:
            return
        except Exception as error:
            if isinstance(error, DeviceFault) or not isinstance(error, EngineError):
                log.exception("Request %s failed.", run.request_id)
            last = _error_event(error)
            if isinstance(error, DeviceFault) and run.cancelled:
                # Nobody reads the error. The next run would find the dead device, and be blamed for it.
                log.error("%s The process exits.", error)
                os._exit(EXIT_DEVICE_FAULT)
        if not run.cancelled:
            emit(last)

    def _memory(self) -> Any:
        memory = self._engine.memory()
        return MESSAGES["Memory"](
            total_mib=memory.total_mib,
            used_mib=memory.used_mib,
            allocated_mib=memory.allocated_mib,
            peak_mib=memory.peak_mib,
            free_mib=memory.free_mib,
        )


async def _read_start(requests: AsyncIterator[Any], context: Any) -> tuple[Any, bytes | None]:
    """
    Reads the start of a run and the checkpoint that came with it, if any. The checkpoint may be cut short.
    """
    start = None
    chunks: list[bytes] = []
    left = 0
    async for request in requests:
        kind = request.WhichOneof("message")
        if start is None and kind == "start":
            start = request.start
            if not start.HasField("checkpoint"):
                return start, None
            left = min(start.checkpoint.bytes, CHECKPOINT_BYTES_MAX)
        elif start is not None and kind == "checkpoint_chunk":
            chunks.append(request.checkpoint_chunk.data)
            left -= len(chunks[-1])
        if start is not None and left <= 0:
            break
    if start is None:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The call ended without a start.")
    return start, b"".join(chunks)


async def _drain(events: asyncio.Queue[Any]) -> None:
    while await events.get() is not None:
        pass


def _parse_parameters(text: str) -> dict[str, Any]:
    value = json.loads(text or "{}")
    if not isinstance(value, dict):
        raise ValueError("parameters of model.yaml must be a mapping.")
    return value


def _parse_input(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InputInvalid(
            [Fault([], "Input should be a valid dictionary", "dict_type")], "The input is not a JSON object."
        )
    return value


def _error_event(error: BaseException) -> Any:
    code = error.code if isinstance(error, EngineError) else "runner_server_error"
    faults = _faults_json(error.faults) if isinstance(error, InputInvalid) else ""
    return MESSAGES["RunEvent"](
        error=MESSAGES["Error"](
            code=code,
            message=_message_of(error),
            faults_json=faults,
            of_device=isinstance(error, DeviceFault) and error.of_device,
        )
    )


def _faults_json(faults: Sequence[Fault]) -> str:
    listed = [
        {
            "loc": ["body", *fault.loc],
            "msg": fault.msg,
            "type": fault.type,
            **({"ctx": fault.ctx} if fault.ctx else {}),
        }
        for fault in faults
    ]
    return json.dumps(listed)


def _message_of(error: BaseException) -> str:
    return str(error) or type(error).__name__
