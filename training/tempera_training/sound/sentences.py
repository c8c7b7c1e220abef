"""Sentences for what is heard, and the words they use."""

import random
import re

from ..prompts import SPECIAL, WORD
from ..video import sentences as video
from ..video.clips import MOTIONS, Clip
from .clips import SoundClip
from .sounds import SOUNDS

LENGTH = 32  # tokens, [BOS] and [EOS] included

_SOUND = {
    "thump": ["thump", "thud", "drum", "dull thump", "low drum hit", "deep thud"],
    "click": ["click", "tick", "wooden click", "short click", "clicking", "tap"],
    "bell": ["bell", "chime", "ringing bell", "bell sound", "bright chime", "ding"],
    "beep": ["beep", "electronic beep", "tone", "short tone", "beeping", "blip"],
}
_ALONE = ["{sound}", "{a} {sound}", "the sound of {a} {sound}", "{a} {sound} at each hit", "sound of {sound}", "we hear {a} {sound} each time", "sounds like {a} {sound}"]
_WITH = ["{scene} , {sound}", "{scene} with {a} {sound}", "{scene} , the sound of {a} {sound}", "{scene} ; {a} {sound} each time", "{sound} , {scene}"]
_ACTION = {"bounce": ["bouncing ball", "a ball bounces", "bouncing", "it bounces on the floor"],
           "walls": ["moves left and right", "hits the walls", "a ball hits the walls", "knocks against the wall"],
           "blink": ["blinking light", "flashing light", "it blinks", "blinks on and off"],
           "quiet": ["silence", "nothing happens", "it is quiet", "no sound"]}
_MOTION = {"bounce": "bounce", "walls": "right", "blink": "blink", "quiet": "still"}


def sentence(clip: SoundClip, sound: str | None, rng: random.Random) -> str:
    """A prompt that tells what is seen, what is heard, or both; `sound` None leaves the sound to the model."""
    scene = rng.choice(_ACTION[clip.action])
    if rng.random() < 0.5:
        scene = video.sentence(Clip(clip.shape, clip.color, clip.background, rng.randrange(3), MOTIONS.index(_MOTION[clip.action])), rng)
    text = scene
    if sound:
        name = rng.choice(_SOUND[sound])
        text = rng.choice(_ALONE + _WITH).format(scene=scene, sound=name, a="an" if name[0] == "e" else "a")
    return re.sub(r"\s+([,;:])", r"\1", text)


def words() -> list[str]:
    """The vocabulary: the video model's, and the words for sounds."""
    phrases = [p for table in (_SOUND, _ACTION) for row in table.values() for p in row] + [re.sub(r"\{\w+\}", " ", t) for t in _ALONE + _WITH]
    found = {w for phrase in phrases for w in re.findall(WORD, phrase)} | set(video.words()[len(SPECIAL):])
    return SPECIAL + sorted(found)


def labels(clip: SoundClip, sound: str | None) -> list[int]:
    """What `attributes` learns to tell: which sound is asked for, 0 for none."""
    return [SOUNDS.index(sound) + 1 if sound else 0]
