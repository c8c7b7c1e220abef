"""An engine for tests, whose input selects its behaviour."""

import os
import threading
from functools import partial
from pathlib import Path
from typing import Any

from tempera_engine import (
    Capabilities,
    DeviceFault,
    Engine,
    EngineError,
    Fault,
    File,
    InputInvalid,
    Model,
    Progress,
    Run,
    serve,
)


def filled(value: int, size: int) -> bytes:
    return bytes([value]) * size


class OddEngine(Engine):
    def describe(self) -> Capabilities:
        return Capabilities(
            runners=["any"],
            artifact_types=["application/octet-stream"],
            max_batch=2,
            supports_checkpoint=True,
        )

    def load(self, model: Model, progress: Progress) -> None:
        if "fail" in model.parameters:
            raise ValueError(f"parameters.fail of model.yaml: {model.parameters['fail']}")
        progress(0.5, "one half")
        progress(1, "the other")

    def run(self, run: Run) -> dict[str, Any]:
        match run.input.get("do", "nothing"):
            case "file":
                path = Path(str(run.input["path"]))
                with path.open("wb") as file:
                    file.truncate(int(run.input["bytes"]))
                made = run.artifact(File("application/octet-stream", "zeros.bin"), path)
                path.unlink()
                return {"file": made}
            case "echo":
                return {"value": run.input["value"]}
            case "raise":
                raise RuntimeError("a tensor does not fit another")
            case "refuse":
                raise InputInvalid(
                    [
                        Fault([], "Not at all", "value_error"),
                        Fault(["a", 1], "Nor this", "int_type", {"le": 3}),
                    ]
                )
            case "give up":
                raise EngineError("generation_timeout", "It would take days.")
            case "lie":
                return {"value": float("nan")}
            case "secret":
                return {"value": object()}
            case "swallow":
                while True:
                    try:
                        run.check()
                        threading.Event().wait(0.01)
                        run.progress(1, 2) if run.input.get("silent") is None else None
                    except Exception:
                        pass
            case "go back":
                run.progress(2, 3)
                run.progress(1, 3)
            case "fault":
                raise DeviceFault("The device faulted.", of_device=bool(run.input["of_device"]))
            case "fault when cancelled":
                run.progress(1, 2)
                try:
                    while True:
                        run.check()
                        threading.Event().wait(0.01)
                finally:
                    # A library raises such an error while the cancel ends its call.
                    raise DeviceFault("The device faulted.")
            case "exit":
                os._exit(3)
            case "state":
                state = run.resume(lambda step, data: (step, data))
                size = int(run.input["bytes"])
                if state is None:
                    for step in range(1, int(run.input.get("steps", 3)) + 1):
                        run.progress(step, 10)
                        run.checkpoint(step, partial(filled, step, size))
                return {"state": None if state is None else [state[0], len(state[1]), state[1][:1].hex()]}
            case "look":
                found = run.input_file(run.input["file_url"])
                return {"bytes": found.path.read_bytes().decode() if found else None}
        return {}


if __name__ == "__main__":
    serve(OddEngine())
