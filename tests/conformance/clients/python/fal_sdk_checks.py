"""Checks of `fal.apps` of fal's SDK. fal's names resolve to the server (sitecustomize.py)."""

import json
import os
import time

import httpx
import tls_of_websockets  # noqa: F401
from checks import check, fails, same
from fal import apps

STUB = "tempera/stub"


@check("run submits, polls and answers with the output")
def _():
    same(apps.run(STUB, {"prompt": "日本語 🎨"})["echo"], "日本語 🎨")


@check("run keeps seeds of 64 bits")
def _():
    for seed in (2**53 + 1, 2**64 - 1):
        same(apps.run(STUB, {"payload": {"seed": seed}})["echo"]["seed"], seed)


@check("status of a waiting request is Queued with its position; cancel")
def _():
    handle = apps.submit(os.environ["WAITING_MODEL"], {"prompt": "x", "image_url": os.environ["IMAGE"]})
    status = handle.status(logs=True)
    assert isinstance(status, apps.Queued) and status.position >= 0, status
    handle.cancel()


@check("status is InProgress with logs, then Completed; then the result")
def _():
    handle = apps.submit(STUB, {"prompt": "x", "delay_ms": 6000, "unknown_field": 1})
    while isinstance(status := handle.status(logs=True), apps.Queued):
        time.sleep(0.05)
    assert isinstance(status, apps.InProgress) and status.logs, status
    for _event in handle.iter_events(logs=True):
        pass
    status = handle.status(logs=True)
    assert isinstance(status, apps.Completed) and status.logs and status.error is None, status
    same(handle.fetch_result()["echo"], "x")


@check("a job that is silent for 14 s")
def _():
    same(apps.run(STUB, {"prompt": "x", "delay_ms": 14000})["echo"], "x")


@check("a failed request is Completed with its error, and its result an exception")
def _():
    handle = apps.submit(STUB, {"fail": "error"})
    for _event in handle.iter_events():
        pass
    status = handle.status()
    assert status.error and status.error_type, status
    fails(httpx.HTTPStatusError, handle.fetch_result, 500)


@check("an input that the model refuses is 422 with a list of faults")
def _():
    handle = apps.submit(STUB, {"fail": "invalid"})
    error = fails(httpx.HTTPStatusError, handle.get, 422)
    same(error.response.json()["detail"][0]["loc"], ["body", "fail"])


@check("an unknown model is 404")
def _():
    fails(httpx.HTTPStatusError, lambda: apps.submit("nobody/nothing", {}), 404)


@check("stream yields lines of events, and the output last")
def _():
    lines = [line for line in apps.stream(STUB, {"prompt": "é", "delay_ms": 60, "steps": 2}, path="/stream")]
    same(json.loads(lines[-1].removeprefix("data: "))["echo"], "é")


@check("realtime answers a message")
def _():
    with apps._connect(STUB) as connection:
        same(connection.run({"prompt": "hello"})["echo"], "hello")


@check("a model by WebSocket answers between start and end")
def _():
    with apps.ws(STUB) as connection:
        same(json.loads(connection.run({"prompt": "hello"}))["echo"], "hello")
