"""Sentences for scenes, and the word-level tokenizer of exactly the words that training uses."""

import random
import re

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from .scenes import COLOR_NAMES, POSITIONS, SHAPES, SIZES, Scene

LENGTH = 32  # tokens, [BOS] and [EOS] included
WORD = r"[a-z0-9]+|[^a-z0-9\s]"  # ASCII classes only: JavaScript's \w and Python's differ
SPECIAL = ["[PAD]", "[UNK]", "[BOS]", "[EOS]"]

SHAPE_WORDS = {
    "circle": ["circle", "circle", "disc"],
    "square": ["square", "square", "box"],
    "triangle": ["triangle"],
    "ring": ["ring", "ring", "hoop"],
    "heart": ["heart"],
    "cross": ["cross", "cross", "plus"],
}
COLOR_WORDS = {"purple": ["purple", "purple", "violet"], "cyan": ["cyan", "cyan", "turquoise"]}
SIZE_WORDS = {
    "small": ["small", "tiny", "little"],
    "medium": ["medium", "medium-sized", ""],
    "large": ["large", "big", "huge"],
}
ONE = ["a", "one", "a single", "the"]
_POSITION = {
    "center": ["in the center", "in the middle", "at the center", "", ""],
    "left": ["on the left", "at the left", "on the left side"],
    "right": ["on the right", "at the right", "on the right side"],
    "top": ["at the top", "on top", "near the top"],
    "bottom": ["at the bottom", "near the bottom", "on the bottom"],
}
GROUND = ["background", "background", "background", "backdrop", "canvas", "wall", "surface"]
FILLER = [
    "nice",
    "shiny",
    "beautiful",
    "please",
    "pretty",
    "very",
    "simple",
    "flat",
    "clean",
    "bright",
    "minimal",
    "zebra",
]

TEMPLATES = [
    "{n} {size} {fg} {shape} {position} on {a} {bg} {ground}",
    "{n} {size} {fg} {shape} on {a} {bg} {ground} {position}",
    "{size} {fg} {shape} {position} , {bg} {ground}",
    "{a} {bg} {ground} with {n} {size} {fg} {shape} {position}",
    "draw {n} {fg} {shape} {position} , {size} , {bg} {ground}",
    "a picture of {n} {size} {fg} {shape} {position} , with {a} {bg} {ground}",
    "an image of {n} {size} {fg} {shape} {position} on {bg}",
    "{n} {size} {shape} in {fg} {position} over {a} {bg} {ground}",
    "paint {n} {size} {fg} {shape} {position} over {a} {bg} {ground}",
    "{position} {n} {size} {fg} {shape} , the {ground} is {bg}",
    "the {ground} is {bg} and there is {n} {size} {fg} {shape} {position}",
    "{bg} {ground} , {n} {size} {fg} {shape} {position}",
    "{fg} {shape} {position} , {size} , on {bg}",
    "{fg} {shape} on {bg}",
    "{n} {fg} {size} {shape} {position} in front of {a} {bg} {ground}",
    "show me {n} {size} {fg} {shape} {position} against {a} {bg} {ground}",
    "{n} {shape} , {fg} , {size} , {position} , {ground} {bg}",
    "an illustration of {n} {size} {fg} {shape} {position} against {bg}",
    "a drawing : {n} {size} {fg} {shape} {position} ; {bg} {ground}",
    "{n} {size} {shape} {position} that is {fg} , on {a} {bg} {ground}",
    "i want {n} {size} {fg} {shape} {position} and {a} {bg} {ground}",
    "on {a} {bg} {ground} , {n} {size} {fg} {shape} {position}",
    "{n} {fg} {shape} {position} , {bg} behind it",
]


def sentence(scene: Scene, rng: random.Random) -> str:
    """Makes a prompt for a scene: a random template and synonyms, sometimes an extra word or no article."""
    shape = rng.choice(SHAPE_WORDS[SHAPES[scene.shape]])
    if shape == "plus":
        shape = "plus sign"
    color, ground = (
        [*COLOR_WORDS.get(name, [name])] for name in (COLOR_NAMES[scene.color], COLOR_NAMES[scene.background])
    )
    background = rng.choice(ground)
    words = (
        rng.choice(TEMPLATES)
        .format(
            n=rng.choice(ONE),
            size=rng.choice(SIZE_WORDS[list(SIZES)[scene.size]]),
            fg=rng.choice(color),
            shape=shape,
            position=rng.choice(_POSITION[list(POSITIONS)[scene.position]]),
            a="an" if background == "orange" else "a",
            bg=background,
            ground=rng.choice(GROUND),
        )
        .split()
    )
    if rng.random() < 0.15:
        words.insert(rng.randrange(len(words)), rng.choice(FILLER))
    if rng.random() < 0.15:
        words = [w for w in words if w not in ("a", "an", "the")]
    text = re.sub(r"\s+([,;:])", r"\1", " ".join(words))
    return re.sub(r"([,;:])(\s*[,;:])+", r"\1", text).strip(" ,;:")


def vocabulary() -> list[str]:
    words: set[str] = set()
    tables = [
        *SHAPE_WORDS.values(),
        *COLOR_WORDS.values(),
        *SIZE_WORDS.values(),
        *_POSITION.values(),
        ONE,
        GROUND,
        COLOR_NAMES,
    ]
    for phrase in [p for table in tables for p in table] + [
        f for f in FILLER if f != "zebra"
    ]:  # zebra trains [UNK]
        words.update(re.findall(WORD, phrase))
    for template in TEMPLATES:
        words.update(re.findall(WORD, re.sub(r"\{\w+\}", " ", template)))
    words.update(["an", "sign"])
    return SPECIAL + sorted(words)


def build_tokenizer(words: list[str] | None = None) -> Tokenizer:
    """Builds the tokenizer of `words` (special tokens first), by default of the image model's.

    WordPiece without continuation pieces, which is word level: the JavaScript tokenizers library has no
    WordLevel model.
    """
    vocab = {word: i for i, word in enumerate(words or vocabulary())}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "removed", invert=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 2), ("[EOS]", 3)]
    )
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


class FastTokenizer:
    """Gives the same ids as `build_tokenizer` for ASCII text, fast enough for the training loop."""

    def __init__(self, words: list[str] | None = None) -> None:
        self.vocab = {word: i for i, word in enumerate(words or vocabulary())}

    def __call__(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns input_ids and attention_mask, int64 [B, LENGTH]."""
        ids = torch.zeros(len(texts), LENGTH, dtype=torch.long)
        for i, text in enumerate(texts):
            row = [2] + [self.vocab.get(w, 1) for w in re.findall(WORD, text.lower())][: LENGTH - 2] + [3]
            ids[i, : len(row)] = torch.tensor(row)
        return ids, (ids != 0).long()
