"""The queue from Python with the standard library alone: submit, poll, fetch the output, save the image.

    export TEMPERA_KEY=$(cat .tempera/key)
    python3 examples/python/submit_and_poll.py ["a large red circle on a blue background"] [image.png]

TEMPERA_URL is the address of the platform; default: http://localhost:8080. subscribe.py uses the official
client.
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
    """Returns the JSON response of the platform; exits with the platform's error."""
    key = os.environ.get("TEMPERA_KEY", "")
    headers = {"Authorization": f"Key {key}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(address, data, headers, method=method)
        with urllib.request.urlopen(request) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        sys.exit(f"{error.code} {error.read().decode()}")


def main(prompt: str = "a large red circle on a blue background", file: str = "image.png") -> None:
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
