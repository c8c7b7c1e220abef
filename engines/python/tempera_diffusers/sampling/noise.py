"""The source of a run's noise."""

import numpy
import torch

WORD = 2**32
"""Torch seeds its generator of the CPU by the lower 32 bits of a seed, so other seeds would repeat these."""

STATE = slice(3, 3 + 624)
"""The words of the Mersenne Twister within the state of that generator, which is 632 words of 64 bits."""


def generator(seed: int) -> torch.Generator:
    """
    Creates the generator of a seed of 64 bits. Its noise is the same on every device, since it is the CPU's.
    A seed of 32 bits gives torch's own; the twister of any other is initialised by both of its halves.
    """
    made = torch.Generator("cpu").manual_seed(seed % 2**64)
    high, low = divmod(seed % 2**64, WORD)
    if high > 0:
        twister = numpy.random.RandomState([low, high]).get_state(legacy=False)
        words = twister["state"]["key"]
        state = made.get_state().view(torch.int64)
        state[STATE] = torch.from_numpy(words.astype(numpy.int64))
        made.set_state(state.view(torch.uint8))
    return made
