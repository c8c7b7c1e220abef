"""
The baseline of `npm run bench:diffusers`: calls a pipeline of diffusers without the engine and the platform.
Reads inputs as lines of JSON, and prints a line of JSON with the seconds of each.

    python bare-diffusers.py <folder>
"""

import io
import json
import sys
import time

import torch
from diffusers import QwenImagePipeline
from PIL import Image

torch.set_num_threads(1)
pipeline = QwenImagePipeline.from_pretrained(sys.argv[1], local_files_only=True)
pipeline.set_progress_bar_config(disable=True)
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    given = json.loads(line)
    began = time.monotonic()
    [pixels] = pipeline(
        prompt=given["prompt"],
        negative_prompt=given["negative_prompt"],
        true_cfg_scale=given["guidance_scale"],
        width=given["image_size"]["width"],
        height=given["image_size"]["height"],
        num_inference_steps=given["num_inference_steps"],
        generator=torch.Generator().manual_seed(given["seed"]),
        output_type="np",
    ).images
    Image.fromarray((pixels * 255).round().astype("uint8")).save(io.BytesIO(), "png", compress_level=1)
    print(json.dumps({"seconds": time.monotonic() - began}), flush=True)
