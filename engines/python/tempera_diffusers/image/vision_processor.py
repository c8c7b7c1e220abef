"""Prepares images and texts for the text encoder of Qwen-Image-Edit, which looks at images."""

from typing import Any

from transformers import Qwen2VLProcessor


class VisionProcessor(Qwen2VLProcessor):  # type: ignore[misc]
    """
    Qwen2-VL's processor without the part for videos. That part needs torchvision, and no pipeline here gives
    it a video.
    """

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any
    ) -> None:
        # The parameters of this function name the parts that are read from a folder.
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)
