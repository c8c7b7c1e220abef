"""Checks of Hugging Face's `InferenceClient` with the provider fal-ai (sitecustomize.py)."""

import base64
import os

from checks import check, fails, same
from huggingface_hub import InferenceClient
from huggingface_hub.hf_api import InferenceProviderMapping
from huggingface_hub.inference._providers._common import HARDCODED_MODEL_INFERENCE_MAPPING


def serve(model, endpoint, task):
    """Maps a name of the hub to an endpoint, as the hub's own address of mappings does."""
    HARDCODED_MODEL_INFERENCE_MAPPING["fal-ai"][model] = InferenceProviderMapping(
        hf_model_id=model, provider="fal-ai", providerId=endpoint, status="live", task=task
    )


serve("Qwen/Qwen-Image", "fal-ai/qwen-image", "text-to-image")
serve("Qwen/Qwen-Image-Edit", "fal-ai/qwen-image/image-to-image", "image-to-image")
serve("Wan-AI/Wan2.2-T2V-A14B", "fal-ai/wan/v2.2-a14b/text-to-video", "text-to-video")
serve("nobody/nothing", "nobody/nothing", "text-to-image")
serve("nobody/video", "nobody/nothing", "text-to-video")
CLIENT = InferenceClient(provider="fal-ai", api_key=os.environ["FAL_KEY"])
SIZE = {"width": 256, "height": 256, "num_inference_steps": 2}


@check("text_to_image answers with an image")
def _():
    image = CLIENT.text_to_image("a red zebra", model="Qwen/Qwen-Image", **SIZE)
    same(image.size, (256, 256))


@check("image_to_image goes through the queue and answers with an image")
def _():
    pixel = base64.b64decode(os.environ["IMAGE"].split(",")[1])
    parameters = {"prompt": "a zebra", "num_inference_steps": 2}
    image = CLIENT.image_to_image(pixel, model="Qwen/Qwen-Image-Edit", **parameters)
    assert image.size[0] > 0, image


@check("text_to_video goes through the queue and answers with a video")
def _():
    parameters = {"num_inference_steps": 2, "num_frames": 17, "extra_body": {"resolution": "480p"}}
    video = CLIENT.text_to_video("a red zebra", model="Wan-AI/Wan2.2-T2V-A14B", **parameters)
    same(video[4:8], b"ftyp")


@check("a wrong key is an exception with 401")
def _():
    stranger = InferenceClient(provider="fal-ai", api_key="00000000-0000-4000-8000-000000000000:wrong")
    fails(Exception, lambda: stranger.text_to_image("x", model="Qwen/Qwen-Image"), 401)


@check("an unknown model is an exception with 404, also through the queue")
def _():
    fails(Exception, lambda: CLIENT.text_to_image("x", model="nobody/nothing"), 404)
    fails(Exception, lambda: CLIENT.text_to_video("x", model="nobody/video"), 404)


@check("an input that does not fit is an exception with 422")
def _():
    error = fails(
        Exception,
        lambda: CLIENT.text_to_image("x", model="Qwen/Qwen-Image", num_inference_steps=-1),
        422,
    )
    assert "num_inference_steps" in error.response.text, error.response.text
