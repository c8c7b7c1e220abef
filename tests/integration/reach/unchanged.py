"""A program written for fal, which names no other server.

Makes the call that its argument names, and prints the result as JSON.
"""

import json
import sys
import urllib.request

import fal_client


def queue():
    submitted = fal_client.submit("tempera/stub", {"prompt": "one"})
    return {"status_url": submitted.status_url, "data": submitted.get()}


def subscribe():
    states = []
    data = fal_client.subscribe(
        "tempera/stub",
        {"prompt": "one"},
        with_logs=True,
        on_queue_update=lambda status: states.append(type(status).__name__),
    )
    return {"states": states, "data": data}


def run():
    return {"data": fal_client.run("tempera/stub", {"prompt": "one"})}


def stream():
    return {"data": list(fal_client.stream("tempera/stub", {"prompt": "one"}))[-1]}


def upload():
    url = fal_client.upload(b"hello", "text/plain")
    with urllib.request.urlopen(url) as answer:
        return {"url": url, "text": answer.read().decode()}


print(json.dumps(globals()[sys.argv[1]]()))
