"""The four effects, their spectrograms, and the reconstruction of audio from spectrograms."""

import math

import torch

SAMPLE_RATE = 16000
FFT, HOP = 512, 256
FRAMES_PER_LATENT = 2
LATENTS_PER_SECOND = SAMPLE_RATE / HOP / FRAMES_PER_LATENT  # 31.25
LOG_FLOOR = 0.01  # added to a magnitude before its logarithm, and subtracted again
BINS = FFT // 2 + 1
EFFECTS = ["thump", "click", "bell", "beep"]
# The effect of each action when none is requested.
DEFAULT = {"bounce": "thump", "walls": "click", "blink": "beep", "quiet": "thump"}
_WINDOW = torch.hann_window(FFT)


def _effect(name: str, generator: torch.Generator) -> torch.Tensor:
    """Synthesises one effect from its onset on, peak near 1, half a second."""
    t = torch.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    noise = torch.randn(len(t), generator=generator)
    match name:
        case "thump":
            return torch.sin(2 * math.pi * (70 * t - 3 * torch.exp(-25 * t))) * torch.exp(
                -14 * t
            ) + 0.25 * noise * torch.exp(-180 * t)
        case "click":
            return 0.6 * noise * torch.exp(-140 * t) + 0.7 * torch.sin(2 * math.pi * 2400 * t) * torch.exp(
                -90 * t
            )
        case "bell":
            parts = [(880, 0.5, 9), (1320, 0.25, 12), (2429, 0.25, 14), (4752, 0.1, 25)]
            return sum(a * torch.sin(2 * math.pi * f * t) * torch.exp(-d * t) for f, a, d in parts)
        case "beep":
            return (
                0.6
                * torch.sin(2 * math.pi * 660 * t)
                * ((0.13 - t) / 0.01).clamp(0, 1)
                * (t / 0.003).clamp(0, 1)
            )
    raise ValueError(f"unknown effect {name}")


def render_audio(
    events: tuple[float, ...], name: str, samples: int, loudness: float, generator: torch.Generator
) -> torch.Tensor:
    """Renders the audio of a clip: the effect `name` at each event."""
    wave = 2e-4 * torch.randn(samples, generator=generator)
    for event in events:
        start = round(event * SAMPLE_RATE)
        effect = loudness * _effect(name, generator)[: max(0, samples - start)]
        wave[start : start + len(effect)] += effect
    return wave


def spectrogram(wave: torch.Tensor) -> torch.Tensor:
    """[B,samples] -> ln(magnitude + LOG_FLOOR) [B,BINS,samples/HOP]; column j centred on sample j * HOP."""
    return torch.log(torch.stft(wave, FFT, HOP, window=_WINDOW, return_complex=True).abs() + LOG_FLOOR)[
        :, :, :-1
    ]


def griffin_lim(log_magnitude: torch.Tensor, iterations: int = 32) -> torch.Tensor:
    """[B,BINS,n] -> audio [B, n * HOP]: Griffin & Lim (1984) with the momentum of Perraudin et al. (2013)."""
    magnitude = (log_magnitude.exp() - LOG_FLOOR).clamp(min=0)
    magnitude = torch.cat([magnitude, magnitude[:, :, -1:]], 2)
    samples = log_magnitude.shape[2] * HOP
    generator = torch.Generator().manual_seed(0)
    phase, before = torch.exp(2j * math.pi * torch.rand(magnitude.shape, generator=generator)), 0
    for _ in range(iterations):
        again = torch.stft(
            torch.istft(magnitude * phase, FFT, HOP, window=_WINDOW, length=samples),
            FFT,
            HOP,
            window=_WINDOW,
            return_complex=True,
        )
        ahead = again + 0.9 * (again - before)
        phase, before = ahead / (ahead.abs() + 1e-8), again
    return torch.istft(magnitude * phase, FFT, HOP, window=_WINDOW, length=samples)


def onsets(wave: torch.Tensor) -> list[float]:
    """Finds the times at which audible events begin, in seconds.

    Level in dB of each 10 ms; an onset is a level over -38 dB that is 12 dB over the lowest of the five
    before it, at least 150 ms after the last onset.
    """
    n = len(wave) // 160
    level = 10 * torch.log10(wave[: n * 160].view(n, 160).pow(2).mean(1) + 1e-7)
    found: list[float] = []
    for k in range(n):
        before = level[max(0, k - 5) : k].min() if k else torch.tensor(-70.0)
        if level[k] > -38 and level[k] - before > 12 and (not found or k * 0.01 - found[-1] > 0.15):
            found.append(k * 0.01)
    return found


def in_step(heard: list[float], seen: tuple[float, ...], tolerance: float = 0.1) -> bool:
    """Tells whether every event is audible within `tolerance` seconds, and nothing else is."""
    return len(heard) == len(seen) and all(
        abs(a - b) <= tolerance for a, b in zip(sorted(heard), sorted(seen))
    )
