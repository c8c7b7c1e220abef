"""Sentences for audio, and the words they use."""

import random
import re

from ..prompts import SPECIAL, WORD
from ..video import sentences as video
from ..video.clips import MOTIONS, Clip
from .clips import AudibleClip
from .waveforms import EFFECTS

LENGTH = 32  # tokens, [BOS] and [EOS] included

_EFFECT = {
    "thump": ["thump", "thud", "drum", "dull thump", "low drum hit", "deep thud"],
    "click": ["click", "tick", "wooden click", "short click", "clicking", "tap"],
    "bell": ["bell", "chime", "ringing bell", "bell sound", "bright chime", "ding"],
    "beep": ["beep", "electronic beep", "tone", "short tone", "beeping", "blip"],
}
_ALONE = [
    "{effect}",
    "{a} {effect}",
    "the sound of {a} {effect}",
    "{a} {effect} at each hit",
    "sound of {effect}",
    "we hear {a} {effect} each time",
    "sounds like {a} {effect}",
]
_WITH = [
    "{scene} , {effect}",
    "{scene} with {a} {effect}",
    "{scene} , the sound of {a} {effect}",
    "{scene} ; {a} {effect} each time",
    "{effect} , {scene}",
]
_ACTION = {
    "bounce": ["bouncing ball", "a ball bounces", "bouncing", "it bounces on the floor"],
    "walls": ["moves left and right", "hits the walls", "a ball hits the walls", "knocks against the wall"],
    "blink": ["blinking light", "flashing light", "it blinks", "blinks on and off"],
    "quiet": ["silence", "nothing happens", "it is quiet", "no sound"],
}
_MOTION = {"bounce": "bounce", "walls": "right", "blink": "blink", "quiet": "still"}


def sentence(clip: AudibleClip, effect: str | None, rng: random.Random) -> str:
    """Makes a prompt that names scene, effect, or both; `effect` None leaves the choice to the model."""
    scene = rng.choice(_ACTION[clip.action])
    if rng.random() < 0.5:
        scene = video.sentence(
            Clip(
                clip.shape, clip.color, clip.background, rng.randrange(3), MOTIONS.index(_MOTION[clip.action])
            ),
            rng,
        )
    text = scene
    if effect:
        name = rng.choice(_EFFECT[effect])
        text = rng.choice(_ALONE + _WITH).format(scene=scene, effect=name, a="an" if name[0] == "e" else "a")
    return re.sub(r"\s+([,;:])", r"\1", text)


def words() -> list[str]:
    """The vocabulary: the video model's, and the words for effects."""
    phrases = [p for table in (_EFFECT, _ACTION) for row in table.values() for p in row] + [
        re.sub(r"\{\w+\}", " ", t) for t in _ALONE + _WITH
    ]
    found = {w for phrase in phrases for w in re.findall(WORD, phrase)} | set(video.words()[len(SPECIAL) :])
    return SPECIAL + sorted(found)


def labels(clip: AudibleClip, effect: str | None) -> list[int]:
    """The label that `attributes` learns: the requested effect, 0 for none."""
    return [EFFECTS.index(effect) + 1 if effect else 0]
