import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tempera_engine.contract import CHUNK_BYTES_MAX, MESSAGES
from wire import Client, started

PROGRAM = Path(__file__).parent / "odd_engine.py"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with started(PROGRAM, tmp_path_factory.mktemp("engine")) as client:
        client.load(slots=2, digest="0" * 64)
        yield client


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Client]:
    with started(PROGRAM, tmp_path) as client:
        yield client


def run(client: Client, **input_value: Any) -> list[Any]:
    return client.run(json.dumps(input_value))


def kinds(events: list[Any]) -> list[str]:
    return [event.WhichOneof("event") for event in events]


def output(events: list[Any]) -> Any:
    assert kinds(events)[-1] == "output", events[-1]
    return json.loads(events[-1].output.json)


def test_numbers_keep_their_value(client: Client) -> None:
    numbers = "[9007199254740993,18446744073709551615,-9223372036854775808,0.1,1e-07,5e-324,"
    numbers += "1.7976931348623157e+308," + "9" * 1000 + "]"
    events = client.run('{"do":"echo","value":' + numbers + "}")
    assert events[-1].output.json == '{"value":' + numbers + "}"


@pytest.mark.parametrize(
    ("do", "code", "message", "faults"),
    [
        ("raise", "runner_server_error", "a tensor does not fit another", None),
        ("give up", "generation_timeout", "It would take days.", None),
        (
            "refuse",
            "input_invalid",
            "The input does not fit this model.",
            [
                {"loc": ["body"], "msg": "Not at all", "type": "value_error"},
                {"loc": ["body", "a", 1], "msg": "Nor this", "type": "int_type", "ctx": {"le": 3}},
            ],
        ),
        ("lie", "runner_server_error", "Out of range float values are not JSON compliant", None),
        ("secret", "runner_server_error", "Object of type object is not JSON serializable", None),
        (
            "go back",
            "runner_server_error",
            "Progress goes from 2 of 3 to 1 of 3; the step must rise and the number of steps must stay.",
            None,
        ),
    ],
)
def test_answers_exceptions_of_the_engine_with_contract_errors(
    client: Client, do: str, code: str, message: str, faults: Any
) -> None:
    error = run(client, do=do)[-1].error
    assert (error.code, error.message[: len(message)]) == (code, message)
    assert (json.loads(error.faults_json) if error.faults_json else None) == faults
    assert output(run(client)) == {}


def test_sends_a_large_file_from_disk_in_chunks_without_loading_it(client: Client, tmp_path: Path) -> None:
    size = 300 * 2**20 + 5
    before = client.health().memory.used_mib
    digest, left, highest = hashlib.sha256(), size, 0
    path = tmp_path / "zeros"
    for event in client.open(json.dumps({"do": "file", "path": str(path), "bytes": size})):
        match event.WhichOneof("event"):
            case "artifact":
                head = event.artifact
            case "chunk":
                assert 0 < len(event.chunk.data) <= CHUNK_BYTES_MAX
                digest.update(event.chunk.data)
                left -= len(event.chunk.data)
                if left % (64 * 2**20) < CHUNK_BYTES_MAX:
                    highest = max(highest, client.health().memory.used_mib)
            case "output":
                assert json.loads(event.output.json) == {"file": {"$artifact": 0}}
    assert (left, head.bytes, head.sha256, head.file_name) == (0, size, digest.hexdigest(), "zeros.bin")
    assert highest - before < 100
    assert not path.exists()


@pytest.mark.parametrize("of_device", [False, True])
def test_answers_a_fault_of_the_device_with_its_own_code(client: Client, of_device: bool) -> None:
    error = client.run(json.dumps({"do": "fault", "of_device": of_device}))[-1].error
    assert (error.code, error.message, error.of_device) == (
        "runner_device_fault",
        "The device faulted.",
        of_device,
    )


def test_exits_when_the_device_faults_in_a_cancelled_run(fresh: Client) -> None:
    """Nobody reads the error, and the next run would find a dead device."""
    fresh.load()
    call = fresh.open('{"do": "fault when cancelled"}')
    assert next(call).WhichOneof("event") == "started"
    assert next(call).WhichOneof("event") == "progress"
    call.cancel()
    assert fresh.process.wait(10) == 70
    assert fresh.process.stderr
    last = json.loads(fresh.process.stderr.read().splitlines()[-1])
    assert last["msg"].startswith("The device faulted.")


def test_releases_the_slot_of_a_cancelled_run_that_swallows_exceptions(client: Client) -> None:
    """The engine of this run catches every `Exception`."""
    call = client.open('{"do": "swallow"}')
    assert next(call).WhichOneof("event") == "started"
    assert next(call).WhichOneof("event") == "progress"
    call.cancel()
    until = time.monotonic() + 0.3
    while client.health().running > 0:
        assert time.monotonic() < until, "still running 300 ms after its cancel"
    assert output(run(client)) == {}


def test_cancels_a_run_that_waits_for_a_slot(client: Client) -> None:
    holders = [client.open('{"do": "swallow"}') for _ in range(2)]
    for holder in holders:
        assert next(holder).WhichOneof("event") == "started"
    waiting = client.open("{}")
    while client.health().waiting != 1:
        pass
    waiting.cancel()
    while client.health().waiting != 0:
        pass
    assert client.health().running == 2
    for holder in holders:
        holder.cancel()
    assert output(run(client)) == {}


def test_cancels_a_run_in_the_middle_of_a_file_that_nobody_reads(client: Client, tmp_path: Path) -> None:
    """By then the thread of the run waits until it can send."""
    path = tmp_path / "zeros"
    call = client.open(json.dumps({"do": "file", "path": str(path), "bytes": 200 * 2**20}))
    while next(call).WhichOneof("event") != "chunk":
        pass
    call.cancel()
    until = time.monotonic() + 0.3
    while client.health().running > 0:
        assert time.monotonic() < until, "still running 300 ms after its cancel"
    assert output(run(client)) == {}


def policy(**values: Any) -> Any:
    return MESSAGES["CheckpointPolicy"](**values)


def checkpoints(events: list[Any]) -> dict[int, bytes]:
    """Collects checkpoints by step. Nothing may come between a head and its last chunk."""
    found: dict[int, bytes] = {}
    left, step = 0, 0
    for event in events:
        kind = event.WhichOneof("event")
        assert (left > 0) == (kind == "checkpoint_chunk")
        if kind == "checkpoint":
            step, left = event.checkpoint.step, event.checkpoint.bytes
            found[step] = b""
        elif kind == "checkpoint_chunk":
            assert 0 < len(event.checkpoint_chunk.data) <= CHUNK_BYTES_MAX
            found[step] += event.checkpoint_chunk.data
            left -= len(event.checkpoint_chunk.data)
    assert left == 0
    return found


STATE = json.dumps({"do": "state", "bytes": 1_000_000, "steps": 5})


def test_hands_out_checkpoints_at_the_interval_of_the_manifest_on_request_only(fresh: Client) -> None:
    fresh.load(checkpoint=policy(every_steps=2))
    assert sorted(checkpoints(fresh.run(STATE, checkpoints=True))) == [2, 4]
    assert checkpoints(fresh.run(STATE)) == {}


def test_hands_out_no_checkpoint_after_the_last_step(fresh: Client) -> None:
    fresh.load(checkpoint=policy(every_steps=1))
    whole = json.dumps({"do": "state", "bytes": 10, "steps": 10})
    assert sorted(checkpoints(fresh.run(whole, checkpoints=True))) == list(range(1, 10))


def test_hands_out_no_checkpoint_with_intervals_of_zero(fresh: Client) -> None:
    fresh.load(checkpoint=policy())
    assert checkpoints(fresh.run(STATE, checkpoints=True)) == {}


def test_hands_out_checkpoints_at_an_interval_in_seconds(fresh: Client) -> None:
    fresh.load(checkpoint=policy(every_seconds=0.000001))
    assert sorted(checkpoints(fresh.run(STATE, checkpoints=True))) == [1, 2, 3, 4, 5]


def in_chunks(data: bytes) -> list[bytes]:
    return [data[offset : offset + CHUNK_BYTES_MAX] for offset in range(0, len(data), CHUNK_BYTES_MAX)]


def test_resumes_from_a_checkpoint_of_another_process(tmp_path: Path) -> None:
    same = {"digest": "a" * 64, "checkpoint": policy(every_steps=1)}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with started(PROGRAM, tmp_path / "one") as one, started(PROGRAM, tmp_path / "two") as two:
        one.load(**same)
        checkpoint = checkpoints(one.run(STATE, checkpoints=True))[3]
        two.load(**same)
        head = MESSAGES["Checkpoint"](step=3, bytes=len(checkpoint))
        events = two.run(STATE, checkpoint=head, chunks=in_chunks(checkpoint))
        assert output(events) == {"state": [3, 1_000_000, "03"]}
        assert [event.log.message for event in events if event.WhichOneof("event") == "log"] == [
            "Going on from step 3."
        ]
        # The order of the fields does not matter.
        reordered = json.dumps(dict(reversed(json.loads(STATE).items())))
        assert output(two.run(reordered, checkpoint=head, chunks=in_chunks(checkpoint)))["state"] is not None

    (tmp_path / "three").mkdir()
    with started(PROGRAM, tmp_path / "three") as other:
        other.load(digest="b" * 64)
        events = other.run(STATE, checkpoint=head, chunks=in_chunks(checkpoint))
        assert output(events) == {"state": None}
        assert "another model version" in events[1].log.message


@pytest.mark.parametrize("announced", [10, 999_999_999_999, 0])
def test_ignores_a_checkpoint_that_differs_from_its_announcement(client: Client, announced: int) -> None:
    head = MESSAGES["Checkpoint"](step=3, bytes=announced)
    events = client.run(STATE, checkpoint=head, chunks=[b"not a checkpoint"])
    assert output(events) == {"state": None}
    assert events[1].log.level == "WARN"


def test_goes_on_without_checkpoints_when_the_state_is_too_large(fresh: Client) -> None:
    fresh.load(checkpoint=policy(every_steps=1))
    events = fresh.run(json.dumps({"do": "state", "bytes": 256 * 2**20, "steps": 3}), checkpoints=True)
    assert [event.log.level for event in events if event.WhichOneof("event") == "log"] == ["WARN"]
    assert checkpoints(events) == {}
    assert output(events) == {"state": None}


def test_finds_an_input_file_by_the_value_in_the_input(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "note"
    path.write_text("hello")
    files = [MESSAGES["InputFile"](path=str(path), content_type="text/plain", bytes=5)]
    for value, found in (
        ("attachment:0", "hello"),
        ("attachment:1", None),
        (str(path), None),
        ("attachment:00000", None),
        (7, None),
    ):
        assert output(client.run(json.dumps({"do": "look", "file_url": value}), files=files)) == {
            "bytes": found
        }


def test_refuses_a_session_with_an_error(client: Client) -> None:
    events = client.run("{}", session=MESSAGES["Session"](path="/realtime"))
    assert [(event.error.code, event.error.message) for event in events] == [
        ("runner_server_error", "This engine has no realtime sessions.")
    ]
    assert client.health().running == 0


def test_answers_a_call_without_a_start_with_invalid_argument(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        list(client._run(iter(()), timeout=5))
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_gives_the_reason_of_a_failed_load_which_can_be_retried(fresh: Client) -> None:
    for parameters, reason in (
        ('{"fail": "why not"}', "why not"),
        ("{", "property name"),
        ("[]", "parameters"),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            fresh.load(parameters_json=parameters)
        assert raised.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert reason in raised.value.details()
    assert [event.WhichOneof("event") for event in fresh.load()] == ["progress", "progress", "loaded"]


def test_logs_lines_of_json(fresh: Client) -> None:
    fresh.load()
    run(fresh, do="raise")
    assert fresh.process.stdin and fresh.process.stderr
    fresh.process.stdin.close()
    assert fresh.process.wait(2) == 0
    lines = [json.loads(line) for line in fresh.process.stderr.read().splitlines()]
    assert [line["level"] for line in lines] == [50]
    assert "a tensor does not fit another" in lines[0]["msg"]
