"""Sentences for clips, and the words they use."""

import random
import re

from ..prompts import COLOR_WORDS, FILLER, GROUND, ONE, SHAPE_WORDS, SIZE_WORDS, SPECIAL, WORD
from ..scenes import COLOR_NAMES, SHAPES
from .clips import MOTIONS, SIZES, Clip

LENGTH = 32  # tokens, [BOS] and [EOS] included

_MOTION = {
    "left": [
        "moves left",
        "moves to the left",
        "moving left",
        "moving to the left",
        "slides to the left",
        "sliding left",
        "goes left",
        "drifts to the left",
        "travels from right to left",
        "flies left",
    ],
    "right": [
        "moves right",
        "moves to the right",
        "moving right",
        "moving to the right",
        "slides to the right",
        "sliding right",
        "goes right",
        "drifts to the right",
        "travels from left to right",
        "flies right",
    ],
    "up": [
        "moves up",
        "moves upward",
        "moving up",
        "rises",
        "rising",
        "goes up",
        "floats up",
        "floats upward",
        "travels from bottom to top",
        "flies up",
    ],
    "down": [
        "moves down",
        "moves downward",
        "moving down",
        "sinks",
        "sinking",
        "goes down",
        "slides down",
        "floats downward",
        "travels from top to bottom",
        "descends",
    ],
    "bounce": [
        "bounces",
        "bouncing",
        "bounces on the floor",
        "falls and bounces",
        "bounces up and down",
        "bouncing off the floor",
        "drops and bounces",
    ],
    "blink": ["blinks", "blinking", "flashes", "flashing", "flickers", "blinks on and off"],
    "grow": ["grows", "growing", "gets bigger", "grows larger", "expands", "comes closer"],
    "still": ["stays still", "is still", "does not move", "standing still", "stays in place", "not moving"],
}
_TEMPLATES = [
    "{n} {size} {fg} {shape} {motion} on {a} {bg} {ground}",
    "{n} {size} {fg} {shape} {motion} on {a} {bg} {ground}",
    "{n} {size} {fg} {shape} {motion} , {bg} {ground}",
    "{n} {size} {fg} {shape} on {a} {bg} {ground} {motion}",
    "{n} {size} {fg} {shape} that {motion} over {a} {bg} {ground}",
    "a video of {n} {size} {fg} {shape} {motion} , with {a} {bg} {ground}",
    "a clip of {n} {size} {fg} {shape} {motion} against {a} {bg} {ground}",
    "{a} {bg} {ground} with {n} {size} {fg} {shape} that {motion}",
    "the {ground} is {bg} and {n} {size} {fg} {shape} {motion}",
    "on {a} {bg} {ground} , {n} {size} {fg} {shape} {motion}",
    "{bg} {ground} , {n} {size} {fg} {shape} {motion}",
    "{fg} {shape} {motion} , {size} , on {bg}",
    "{n} {fg} {shape} {motion} in front of {a} {bg} {ground}",
    "animate {n} {size} {fg} {shape} : it {motion} , {bg} {ground}",
    "show me {n} {size} {fg} {shape} {motion} slowly across {a} {bg} {ground}",
    "{n} {size} {shape} in {fg} {motion} quickly , {ground} {bg}",
    "a movie where {n} {size} {fg} {shape} {motion} on {bg}",
    "the {fg} {shape} {motion}",  # enough beside a first frame
    "it {motion}",
]


def sentence(clip: Clip, rng: random.Random, full: bool = False) -> str:
    """Makes a prompt for a clip: a random template and synonyms, sometimes an extra word or no article.

    `full` leaves out the short forms that do not name the background.
    """
    shape, color, ground = (
        rng.choice(words)
        for words in (
            SHAPE_WORDS[SHAPES[clip.shape]],
            COLOR_WORDS.get(COLOR_NAMES[clip.color], [COLOR_NAMES[clip.color]]),
            COLOR_WORDS.get(COLOR_NAMES[clip.background], [COLOR_NAMES[clip.background]]),
        )
    )
    words = (
        rng.choice(_TEMPLATES[:-2] if full else _TEMPLATES)
        .format(
            n=rng.choice(ONE),
            size=rng.choice(SIZE_WORDS[list(SIZES)[clip.size]]),
            fg=color,
            shape="plus sign" if shape == "plus" else shape,
            motion=rng.choice(_MOTION[MOTIONS[clip.motion]]),
            a="an" if ground == "orange" else "a",
            bg=ground,
            ground=rng.choice(GROUND),
        )
        .split()
    )
    if rng.random() < 0.12:
        words.insert(rng.randrange(len(words)), rng.choice(FILLER))
    if rng.random() < 0.12:
        words = [w for w in words if w not in ("a", "an", "the")]
    text = re.sub(r"\s+([,;:])", r"\1", " ".join(words))
    return re.sub(r"([,;:])(\s*[,;:])+", r"\1", text).strip(" ,;:")


def words() -> list[str]:
    """The vocabulary, special tokens first."""
    found: set[str] = {"an", "sign"}
    tables = [
        *SHAPE_WORDS.values(),
        *COLOR_WORDS.values(),
        *SIZE_WORDS.values(),
        *_MOTION.values(),
        ONE,
        GROUND,
        COLOR_NAMES,
    ]
    for phrase in [p for table in tables for p in table] + [
        f for f in FILLER if f != "zebra"
    ]:  # zebra trains [UNK]
        found.update(re.findall(WORD, phrase))
    for template in _TEMPLATES:
        found.update(re.findall(WORD, re.sub(r"\{\w+\}", " ", template)))
    return SPECIAL + sorted(found)
