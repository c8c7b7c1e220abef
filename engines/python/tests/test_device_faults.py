"""Faults of the device, injected on a CPU: the exceptions that torch raises for them."""

from typing import Any

import pytest
import torch
from tempera_engine import DeviceFault, EngineError
from torch.distributed import DistBackendError

INPUT = {"prompt": "a circle", "image_size": {"width": 32, "height": 32}, "num_inference_steps": 3, "seed": 7}

# torch 2.7 and older raise a RuntimeError with the same text.
AcceleratorError: Any = getattr(torch, "AcceleratorError", RuntimeError)


def accelerator_error(text: str, code: int | None = None) -> Exception:
    error: Exception = AcceleratorError(f"CUDA error: {text}\nCUDA kernel errors might be reported later.")
    if code is not None:
        error.error_code = code  # type: ignore[attr-defined]
    return error


@pytest.fixture(scope="module")
def engine(load: Any) -> Any:
    return load("text-to-image")


@pytest.fixture
def failing(engine: Any) -> Any:
    """`failing(error)` makes every pass of the transformer raise the error."""
    hooks = []

    def fail(error: Exception) -> None:
        def hook(*_: Any) -> None:
            raise error

        hooks.append(engine._loaded._pipeline.transformer.register_forward_pre_hook(hook))

    yield fail
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize(
    ("error", "of_device"),
    [
        (accelerator_error("an illegal memory access was encountered"), False),
        (accelerator_error("an illegal memory access was encountered", 700), False),
        (accelerator_error("device-side assert triggered"), False),
        (accelerator_error("unspecified launch failure"), False),
        (RuntimeError("CUDA error: misaligned address"), False),
        (accelerator_error("uncorrectable ECC error encountered"), True),
        (accelerator_error("in words of another driver", 214), True),
        (accelerator_error("hardware stack error"), True),
        (DistBackendError("NCCL error in: ProcessGroupNCCL.cpp:94, remote process exited"), True),
        (RuntimeError("NCCL communicator was aborted on rank 1."), True),
    ],
)
def test_reports_a_fault_of_the_device_with_its_own_code(
    engine: Any, runs: Any, failing: Any, error: Exception, of_device: bool
) -> None:
    failing(error)
    with pytest.raises(DeviceFault) as raised:
        runs(engine, INPUT)
    assert (raised.value.code, raised.value.of_device) == ("runner_device_fault", of_device)
    # One line, with the reason, and without the advice that torch adds for its developers.
    assert str(error).splitlines()[0] in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        accelerator_error("invalid configuration argument", 9),
        accelerator_error("no kernel image is available for execution on the device"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ],
)
def test_leaves_an_error_that_the_device_survives_to_the_request(
    engine: Any, runs: Any, failing: Any, error: Exception
) -> None:
    failing(error)
    with pytest.raises(RuntimeError) as raised:
        runs(engine, INPUT)
    assert raised.value is error
    assert not isinstance(raised.value, EngineError)


def test_finds_a_dead_device_behind_an_error_that_does_not_tell(
    engine: Any, runs: Any, failing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cuBLAS and cuDNN report a dead context in their own words."""

    def dead(_device: Any) -> None:
        raise accelerator_error("an illegal memory access was encountered")

    failing(RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasGemmEx"))
    calls = iter([lambda _: None, dead])
    monkeypatch.setattr("tempera_diffusers.device_faults.synchronize", lambda device: next(calls)(device))
    with pytest.raises(DeviceFault, match="illegal memory access") as raised:
        runs(engine, INPUT)
    assert not raised.value.of_device


def test_blames_no_run_for_a_device_that_was_dead_before_it(
    engine: Any, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was cancelled may have left it so."""

    def dead(_device: Any) -> None:
        raise accelerator_error("device-side assert triggered")

    monkeypatch.setattr("tempera_diffusers.device_faults.synchronize", dead)
    with pytest.raises(DeviceFault) as raised:
        runs(engine, INPUT)
    assert raised.value.of_device
