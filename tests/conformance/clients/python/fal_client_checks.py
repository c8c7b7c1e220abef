"""Checks of fal's Python client, `fal-client`. fal's names resolve to the server (sitecustomize.py)."""

import os
import tempfile
import time
import urllib.request

import fal_client
import tls_of_websockets  # noqa: F401
from checks import check, fails, same

STUB = "tempera/stub"
LABELLED = {"timestamp", "message", "level", "source", "labels"}


def fetch(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read()


@check("run answers with the output")
def _():
    same(fal_client.run(STUB, {"prompt": "one"})["echo"], "one")


@check("run keeps characters beyond ASCII")
def _():
    text = "日本語 фото 🎨 é\u2028"
    same(fal_client.run(STUB, {"prompt": text})["echo"], text)


@check("run keeps seeds of 64 bits")
def _():
    for seed in (2**53 + 1, 2**64 - 1):
        same(fal_client.run(STUB, {"payload": {"seed": seed}})["echo"]["seed"], seed)


@check("submit answers with three addresses; status of a waiting request has its position; cancel")
def _():
    handle = fal_client.submit(os.environ["WAITING_MODEL"], {"prompt": "x", "image_url": os.environ["IMAGE"]})
    for url in (handle.status_url, handle.response_url, handle.cancel_url):
        assert handle.request_id in url, url
    status = handle.status(with_logs=True)
    assert isinstance(status, fal_client.Queued) and status.position >= 0, status
    handle.cancel()


@check("status is InProgress, then Completed with logs; then the result")
def _():
    handle = fal_client.submit(STUB, {"prompt": "x", "delay_ms": 6000, "steps": 3, "unknown_field": 1})
    while isinstance(status := handle.status(with_logs=True), fal_client.Queued):
        time.sleep(0.05)
    assert isinstance(status, fal_client.InProgress), status
    for status in handle.iter_events(with_logs=True, interval=0.1):
        pass
    assert isinstance(status, fal_client.Completed) and status.metrics["inference_time"] > 0, status
    assert status.logs and all(LABELLED <= set(line) for line in status.logs), status.logs
    same(handle.get()["echo"], "x")


@check("subscribe reports updates and logs")
def _():
    updates = []
    output = fal_client.subscribe(
        STUB,
        {"prompt": "x", "delay_ms": 1500, "steps": 3, "unknown_field": 1},
        with_logs=True,
        on_queue_update=updates.append,
    )
    same(output["echo"], "x")
    assert any(getattr(update, "logs", None) for update in updates), updates


@check("subscribe to a job that is silent for 14 s")
def _():
    same(fal_client.subscribe(STUB, {"prompt": "x", "delay_ms": 14000})["echo"], "x")


@check("cancel ends a running request")
def _():
    handle = fal_client.submit(STUB, {"delay_ms": 60000, "steps": 600})
    while not isinstance(handle.status(), fal_client.InProgress):
        time.sleep(0.05)
    handle.cancel()
    fails(fal_client.FalClientHTTPError, handle.get)


@check("a wrong key is 401")
def _():
    stranger = fal_client.SyncClient(key="00000000-0000-4000-8000-000000000000:wrong")
    fails(fal_client.FalClientHTTPError, lambda: stranger.run(STUB, {}), 401)


@check("an unknown model is 404")
def _():
    fails(fal_client.FalClientHTTPError, lambda: fal_client.run("nobody/nothing", {}), 404)


@check("an unknown request is 404")
def _():
    unknown = "019a1b2c-0000-7000-8000-000000000000"
    fails(fal_client.FalClientHTTPError, lambda: fal_client.status(STUB, unknown), 404)


@check("an input that the model refuses is 422 with a list of faults")
def _():
    error = fails(fal_client.FalClientHTTPError, lambda: fal_client.run(STUB, {"fail": "invalid"}), 422)
    assert error.response.json()["detail"][0]["loc"] == ["body", "fail"], error


@check("a failed request is Completed with an error, and its result is an exception")
def _():
    handle = fal_client.submit(STUB, {"fail": "error"})
    for status in handle.iter_events(interval=0.1):
        pass
    assert status.error and status.error_type, status
    fails(fal_client.FalClientHTTPError, handle.get)


@check("stream yields events, and the output last")
def _():
    events = list(fal_client.stream(STUB, {"prompt": "é😀", "delay_ms": 60, "steps": 2}))
    same(events[-1]["echo"], "é😀")


@check("realtime answers a message")
def _():
    with fal_client.realtime(STUB) as connection:
        connection.send({"prompt": "hello"})
        same(connection.recv()["echo"], "hello")


@check("upload, upload_file with a name beyond ASCII, and an input that names the file")
def _():
    url = fal_client.upload(b"some bytes", "application/octet-stream")
    same(fetch(url), b"some bytes")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "日本語.txt")
        with open(path, "wb") as file:
            file.write(b"a file")
        url = fal_client.upload_file(path)
    assert url.endswith(".txt"), url
    same(fal_client.run(STUB, {"file_url": url})["input_file"]["bytes"], 6)


@check("files of an output can be read")
def _():
    file = fal_client.run(STUB, {"artifact_bytes": 1000})["file"]
    same(len(fetch(file["url"])), 1000)


@check("submit with a webhook")
def _():
    fal_client.submit(STUB, {"prompt": "hook"}, webhook_url=os.environ["HOOK_URL"])
