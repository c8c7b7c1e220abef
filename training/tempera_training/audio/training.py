"""The stages of the audio model: examples, autoencoder, visual encoder and transformer together."""

import random
from pathlib import Path

import torch
import torch.nn.functional as F

from ..budget import Budget, warm_stable_decay
from ..checkpoints import save_whole
from ..networks import TextEncoder
from ..optimizers import begin_step, transformer_optimizers
from ..prompts import FastTokenizer
from .clips import SIDE, AudibleClip, frame_times, render_squashed, sample_audible_clip
from .networks import LATENT_CHANNELS, AudioDecoder, AudioEncoder, AudioTransformer, VisualEncoder
from .sentences import LENGTH, sentence, words
from .waveforms import DEFAULT, HOP, LATENTS_PER_SECOND, FRAMES_PER_LATENT, EFFECTS, render_audio, spectrogram

PEAK_RATE = 2e-3
WINDOW = 64  # latents of a training example: 2.048 s
SIZES = [
    (72, 128),
    (64, 112),
    (96, 96),
    (112, 64),
    (90, 120),
]  # height, width of frames before squashing
RATES = [8, 10, 12, 16, 16, 16, 24, 25, 30]  # frames per second


def draw_frames(clip: AudibleClip, latents: int, rng: random.Random) -> torch.Tensor:
    """Draws a clip for the visual encoder: [3,latents,SIDE,SIDE] in -1..1, each frame held until the next."""
    height, width = rng.choice(SIZES)
    times, which = frame_times(rng.choice(RATES), latents, LATENTS_PER_SECOND)
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    return render_squashed(clip, times, height, width, torch.randn(2, 3, generator=generator) * 0.05)[
        which
    ].transpose(0, 1)


def draw_examples(out: Path, count: int) -> None:
    """Draws `count` clips of 2 s with their audio: frames uint8, log spectrograms float16.

    Half of the clips request an effect by name.
    """
    if out.exists():
        return
    rng, generator, budget = random.Random(5), torch.Generator().manual_seed(5), Budget(1)
    samples = round(WINDOW * FRAMES_PER_LATENT * HOP)
    frames = torch.zeros(count, 3, WINDOW, SIDE, SIDE, dtype=torch.uint8)
    clips, requested, waves = [], [], torch.zeros(count, samples)
    for i in range(count):
        clip = sample_audible_clip(rng, WINDOW / LATENTS_PER_SECOND)
        name = rng.choice(EFFECTS) if rng.random() < 0.55 else None
        frames[i] = ((draw_frames(clip, WINDOW, rng) + 1) * 127.5).round().byte()
        waves[i] = render_audio(
            clip.events, name or DEFAULT[clip.action], samples, rng.uniform(0.4, 0.7), generator
        )
        clips.append(clip), requested.append(name)
        if i % 500 == 499:
            budget.tick()
            print(f"examples {i + 1}, {budget.spent:.0f}s", flush=True)
    save_whole(
        {"frames": frames, "spectrograms": spectrogram(waves).half(), "clips": clips, "requested": requested},
        out,
    )


def train_autoencoder(examples: Path, out: Path, minutes: float, batch: int = 32) -> None:
    """Minimises L1 and a light KL term on standardised log spectrograms; saves the latents of all examples
    too.
    """
    if out.exists() and torch.load(out)["done"]:
        return
    data = torch.load(examples, weights_only=False)["spectrograms"]
    middle, spread = data.float().mean(), data.float().std()
    torch.manual_seed(0)
    encoder, decoder = AudioEncoder(), AudioDecoder()
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer, budget, step, share = (
        torch.optim.AdamW(parameters, PEAK_RATE, betas=(0.9, 0.98)),
        Budget(minutes),
        0,
        0.0,
    )
    while share < 1:
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * warm_stable_decay(step, share)
        x = (data[torch.randint(len(data), (batch,))].float() - middle) / spread
        with torch.autocast("cpu", torch.bfloat16):
            mean, log_variance = encoder(x).float().chunk(2, 1)
            log_variance = log_variance.clamp(-12, 6)
            y = decoder(mean + torch.randn_like(mean) * (0.5 * log_variance).exp()).float()
        error = (y - x).abs().mean()
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        optimizer.zero_grad()
        (error + 1e-3 * kl).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step, share = step + 1, budget.tick()
        if step % 100 == 0:
            print(f"autoencoder step {step} {budget.spent:.0f}s l1 {error:.4f} kl {kl:.3f}", flush=True)
    with torch.no_grad():
        latents = torch.cat(
            [encoder((part.float() - middle) / spread)[:, :LATENT_CHANNELS] for part in data.split(64)]
        )
    mean, std = latents.mean((0, 2)), latents.std((0, 2))
    print(f"autoencoder done: {step} steps, latent std {std.tolist()}", flush=True)
    latents = ((latents - mean.view(1, -1, 1)) / std.view(1, -1, 1)).half()
    torch.save(
        {
            "encoder": encoder.state_dict(),
            "decoder": decoder.state_dict(),
            "middle": middle,
            "spread": spread,
            "mean": mean,
            "std": std,
            "latents": latents,
            "done": True,
        },
        out,
    )


def event_targets(clips: list[AudibleClip]) -> torch.Tensor:
    """Gives 1 for each latent at an event, tapering off over one latent either way: [B,WINDOW]."""
    at = (torch.arange(WINDOW) + 0.5) / LATENTS_PER_SECOND
    rows = [
        torch.stack([(1 - (at - e).abs() * LATENTS_PER_SECOND / 1.5).clamp(min=0) for e in c.events]).amax(0)
        if c.events
        else torch.zeros(WINDOW)
        for c in clips
    ]
    return torch.stack(rows)


def train_transformer(
    examples: Path, autoencoder: Path, text: Path, out: Path, minutes: float, batch: int = 32
) -> None:
    """Trains visual encoder and transformer together, by rectified flow matching.

    Video and prompt are each dropped one time in ten. Beside the main loss a linear head predicts the events
    from the visual states, so that the encoder learns quickly what matters. Resumes from its last checkpoint.
    """
    data, saved_autoencoder = torch.load(examples, weights_only=False), torch.load(autoencoder)
    frames, clips, requested, latents = (
        data["frames"],
        data["clips"],
        data["requested"],
        saved_autoencoder["latents"],
    )
    targets = event_targets(clips)
    tokenizer = FastTokenizer(words())
    torch.manual_seed(0)
    text_encoder = TextEncoder(len(tokenizer.vocab), LENGTH).eval()
    text_encoder.load_state_dict(torch.load(text)["text_encoder"])
    visual, transformer, head = VisualEncoder(), AudioTransformer(), torch.nn.Linear(128, 1)
    networks = torch.nn.ModuleDict({"visual_encoder": visual, "transformer": transformer, "head": head})
    parameters = list(networks.parameters())
    optimizers = transformer_optimizers(networks.named_parameters(), PEAK_RATE)
    average = [p.detach().clone() for p in parameters]
    spent, step = 0.0, 0
    if out.exists():
        saved = torch.load(out)
        spent, step = saved["spent"], saved["step"]
        if saved["done"]:
            return
        networks.load_state_dict(saved["raw"])
        for optimizer, state in zip(optimizers, saved["optimizers"]):
            optimizer.load_state_dict(state)
        average = saved["average"]
        torch.manual_seed(step)
    rng, budget = random.Random(9 + step), Budget(minutes, spent)
    share, total, saved_at = budget.spent / budget.total, torch.zeros(2), budget.spent

    def save(done: bool) -> None:
        names = [name for name, _ in networks.named_parameters()]
        save_whole(
            {
                "raw": networks.state_dict(),
                "networks": dict(zip(names, average)),
                "average": average,
                "optimizers": [o.state_dict() for o in optimizers],
                "spent": budget.spent,
                "step": step,
                "done": done,
            },
            out,
        )

    print(
        f"visual encoder {sum(p.numel() for p in visual.parameters())}, "
        f"transformer {sum(p.numel() for p in transformer.parameters())} parameters",
        flush=True,
    )
    while share < 1:
        rate = PEAK_RATE * warm_stable_decay(step, share)
        begin_step(optimizers, rate)
        index = torch.randint(len(clips), (batch,))
        x, seen = latents[index].float(), frames[index].float() / 127.5 - 1
        texts = [
            ""
            if requested[i] is None and rng.random() < 0.4 or rng.random() < 0.1
            else sentence(clips[i], requested[i], rng)
            for i in index.tolist()
        ]
        ids, mask = tokenizer(texts)
        sigma, noise = torch.sigmoid(torch.randn(batch) * 1.1 + 0.3), torch.randn_like(x)
        s, keep = sigma.view(-1, 1, 1), (torch.rand(batch) > 0.1).float().view(-1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                states = text_encoder(ids, mask).float()
            visual_states = visual(seen).float()
            velocity = transformer((1 - s) * x + s * noise, sigma * 1000, visual_states * keep, states, mask)
        flow = (velocity.float() - (noise - x)).pow(2).mean()
        event_loss = F.binary_cross_entropy_with_logits(
            head(visual_states)[:, :, 0], targets[index], pos_weight=torch.tensor(4.0)
        )
        (flow + 0.3 * event_loss).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        torch._foreach_lerp_(
            average, [p.detach() for p in parameters], 1 - min(0.998, (step + 10) / (step + 60))
        )
        total += torch.tensor([flow.item(), event_loss.item()])
        step, share = step + 1, budget.tick()
        if step % 50 == 0:
            print(
                f"transformer step {step} {budget.spent:.0f}s loss {total[0] / 50:.4f} "
                f"events {total[1] / 50:.4f} rate {rate:.5f}",
                flush=True,
            )
            total.zero_()
        if budget.spent - saved_at > 60:
            save(done=False)
            saved_at = budget.spent
            budget.skip()
    save(done=True)
    print(f"transformer done: {step} steps of {batch}", flush=True)
