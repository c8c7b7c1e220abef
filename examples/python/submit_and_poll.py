"""The queue from Python, with the standard library alone: submit, poll, collect the output, save the picture.

    export TEMPERA_KEY=$(cat .tempera/key)
    python3 examples/python/submit_and_poll.py ["a large red circle on a blue background"] [picture.png]

TEMPERA_URL says where the platform is; default http://localhost:8080. The official client is in subscribe.py.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request

URL = os.environ.get("TEMPERA_URL", "http://localhost:8080")
POLL_SECONDS = 0.2


def call(method: str, address: str, body: dict | None = None) -> dict:
    """The JSON answer of the platform; exits with its words when it refuses."""
    headers = {"Authorization": f"Key {os.environ.get('TEMPERA_KEY', '')}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data, headers, method=method)) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"{error.code} {error.read().decode()}")


def main(prompt: str = "a large red circle on a blue background", file: str = "picture.png") -> None:
    submitted = call("POST", f"{URL}/queue/fal-ai/qwen-image", {"prompt": prompt})
    print("request", submitted["request_id"])

    shown = 0
    while True:
        status = call("GET", submitted["status_url"] + "?logs=1")
        for line in status["logs"][shown:]:
            print(" ", line["message"])
        shown = len(status["logs"])
        if status["status"] == "COMPLETED":
            break
        print(status["status"], status.get("progress", ""))
        time.sleep(POLL_SECONDS)

    output = call("GET", submitted["response_url"])
    image = output["images"][0]
    urllib.request.urlretrieve(image["url"], file)
    print(f"saved {file} ({image['width']}x{image['height']}, seed {output['seed']})")


if __name__ == "__main__":
    main(*sys.argv[1:])
