"""Runs the unmodified official client, with one function for each case. Prints the result as JSON."""

import base64
import hashlib
import json
import os
import sys
import tempfile
import time
import urllib.request
import uuid

import fal_client
import tls_of_websockets  # noqa: F401

STUB = "tempera/stub"


def fetch(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read()


def failure(work):
    try:
        work()
    except Exception as error:  # the case checks the kind
        return {
            "kind": type(error).__name__,
            "message": str(error),
            "status": getattr(error, "status_code", None),
            "error_type": getattr(error, "error_type", None),
        }
    return {"kind": None}


def basics():
    submitted = fal_client.submit(STUB, {"prompt": "one"})
    return {
        "run": fal_client.run(STUB, {"prompt": "one"}),
        "submit": submitted.get(),
        "status_url": submitted.status_url,
        "subscribe": fal_client.subscribe(STUB, {"prompt": "one"}),
    }


def events():
    submitted = fal_client.submit(STUB, {"delay_ms": 1500, "steps": 3, "unknown_field": 1})
    seen = []
    for event in submitted.iter_events(with_logs=True, interval=0.05):
        seen.append(type(event).__name__)
    return {"seen": seen, "output": submitted.get()}


def failed():
    submitted = fal_client.submit(STUB, {"fail": "error"})
    last = None
    for last in submitted.iter_events(with_logs=True, interval=0.05):
        pass
    return {"error": last.error, "error_type": last.error_type, "result": failure(submitted.get)}


def invalid():
    return failure(lambda: fal_client.run(STUB, {"fail": "invalid"}))


def crashed():
    started = time.time()
    error = failure(lambda: fal_client.run(STUB, {"fail": "crash", "prompt": str(uuid.uuid4())}))
    return {**error, "seconds": time.time() - started}


def timeout():
    seen = {}

    def enqueue(request_id):
        seen["request_id"] = request_id

    long_run = {"delay_ms": 60000, "steps": 600}
    error = failure(lambda: fal_client.subscribe(STUB, long_run, on_enqueue=enqueue, client_timeout=2))
    return {**seen, "error": error}


def stream():
    return {"events": list(fal_client.stream(STUB, {"prompt": "é😀", "delay_ms": 60, "steps": 2}))}


def realtime(endpoint, use_jwt, path="/realtime"):
    with fal_client.realtime(endpoint, use_jwt=use_jwt, path=path) as connection:
        connection.send({"prompt": "hello"})
        return {"answer": connection.recv()}


def realtime_failure():
    def work():
        with fal_client.realtime(STUB) as connection:
            connection.send({"fail": "error"})
            connection.recv()

    return failure(work)


def raw_socket():
    with fal_client.ws_connect(STUB) as connection:
        connection.send("text as it is")
        text = connection.recv()
        connection.send(b"\x00\x01")
        return {"text": text, "bytes": base64.b64encode(connection.recv()).decode()}


def uploads():
    from PIL import Image

    image = Image.new("RGB", (4, 4), "red")
    with tempfile.NamedTemporaryFile(suffix=".txt", delete=False) as file:
        file.write(b"a file")
    urls = {
        "bytes": fal_client.upload(b"some bytes", "application/octet-stream"),
        "text": fal_client.upload("some text", "text/plain"),
        "file": fal_client.upload_file(file.name),
        "image": fal_client.upload_image(image, "png"),
    }
    os.unlink(file.name)
    return {
        name: {"url": url, "bytes": len(fetch(url)), "start": fetch(url)[:10].decode("latin1")}
        for name, url in urls.items()
    }


def fallback():
    """Uploads while the CDN refuses uploads (the case arranges that), so the client falls back to storage."""
    url = fal_client.upload(b"by the fallback", "text/plain")
    return {"url": url, "text": fetch(url).decode()}


def multipart(mib):
    with tempfile.NamedTemporaryFile(suffix=".bin", delete=False) as file:
        block = os.urandom(1024 * 1024)
        digest = hashlib.sha256()
        for _ in range(mib):
            file.write(block)
            digest.update(block)
    url = fal_client.upload_file(file.name)
    os.unlink(file.name)
    return {"url": url, "same": hashlib.sha256(fetch(url)).hexdigest() == digest.hexdigest()}


print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
