"""The unmodified official Python client: one call from prompt to output, with logs; then the image is saved.

    npm start -- --tls

    export FAL_RUN_HOST=localhost:8443
    export FAL_QUEUE_RUN_HOST=localhost:8443/queue
    export SSL_CERT_FILE="$PWD/.tempera/tls/ca.pem"
    export FAL_KEY="$(cat .tempera/key)"
    python3 examples/python/subscribe.py ["a large red circle on a blue background"] [image.png]

Needs `pip install fal-client`. The same code runs on fal.
"""

import sys
import urllib.request

import fal_client


def show(status: fal_client.Status) -> None:
    if isinstance(status, fal_client.Queued):
        print(f"{status.position} ahead in the queue")
    elif isinstance(status, fal_client.Completed):
        for line in status.logs or []:
            print(" ", line["message"])


def main(prompt: str = "a large red circle on a blue background", file: str = "image.png") -> None:
    output = fal_client.subscribe(
        "fal-ai/qwen-image",
        {"prompt": prompt},
        with_logs=True,
        on_enqueue=lambda request_id: print("request", request_id),
        on_queue_update=show,
    )
    image = output["images"][0]
    urllib.request.urlretrieve(image["url"], file)
    print(f"saved {file} ({image['width']}x{image['height']}, seed {output['seed']})")


if __name__ == "__main__":
    main(*sys.argv[1:])
