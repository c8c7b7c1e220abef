"""Last stage: exports the networks as ONNX files in a model folder laid out like a diffusers pipeline.

python -m tempera_training.export WORK OUT
An unfinished transformer.pt is accepted; its averaged weights are used.
"""

import hashlib
import json
import logging
import random
import re
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.export import Dim

from .networks import (
    DOWNSCALE,
    LATENT_CHANNELS,
    PATCH,
    TEXT_WIDTH,
    Decoder,
    Encoder,
    TextEncoder,
    Transformer,
)
from .prompts import LENGTH, FastTokenizer, build_tokenizer, sentence
from .scenes import COLOR_NAMES, SHAPES, sample_scenes

OPSET = 20
SMALL = 256  # smaller tensors stay float32: norms and biases, which need little space
# Greatest difference of outputs of order 1 between torch in float32 and the stored half-precision weights.
FLOAT16_TOLERANCE = 0.02


class LatentEncoder(nn.Module):
    """image [B,3,H,W] in -1..1 -> latents [B,C,H/16,W/16] of zero mean and unit variance, for the
    transformer.
    """

    def __init__(self, autoencoder: dict) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.encoder.load_state_dict(autoencoder["encoder"])
        self.register_buffer("mean", autoencoder["mean"].view(1, -1, 1, 1))
        self.register_buffer("std", autoencoder["std"].view(1, -1, 1, 1))

    def forward(self, image):
        return (self.encoder(image)[:, :LATENT_CHANNELS] - self.mean) / self.std


class LatentDecoder(nn.Module):
    """latents [B,C,h,w] of zero mean and unit variance -> image [B,3,16h,16w] in -1..1."""

    def __init__(self, autoencoder: dict, decoder: dict) -> None:
        super().__init__()
        self.decoder = Decoder()
        self.decoder.load_state_dict(decoder["decoder"])
        self.register_buffer("mean", autoencoder["mean"].view(1, -1, 1, 1))
        self.register_buffer("std", autoencoder["std"].view(1, -1, 1, 1))

    def forward(self, latents):
        return self.decoder(latents * self.std + self.mean).clamp(-1, 1)


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drops the exporter's debugging data (1 MB a model) and stores weights as float16 with a Cast to
    float32.

    ONNX Runtime folds the casts when it loads the file, so the computation stays in float32 at no extra cost.
    """
    graph = model.graph
    graph.ClearField("doc_string")
    graph.ClearField("value_info")
    for part in [model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output]:
        del part.metadata_props[:]
        part.ClearField("doc_string")
    casts = []
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims)) < SMALL:
            continue
        half = numpy_helper.from_array(
            numpy_helper.to_array(tensor).astype(np.float16), f"{tensor.name}.float16"
        )
        graph.initializer.remove(tensor)
        graph.initializer.append(half)
        casts.append(
            helper.make_node(
                "Cast", [half.name], [tensor.name], name=f"{tensor.name}.cast", to=TensorProto.FLOAT
            )
        )
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(model)
    return model


def export_network(
    network: nn.Module, example: dict, output: str, shapes: dict, path: Path, trials: list[dict]
) -> None:
    """Writes one network and compares it with torch on every trial input; raises above FLOAT16_TOLERANCE."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "model.onnx"
        torch.onnx.export(
            network,
            tuple(example.values()),
            raw,
            input_names=list(example),
            output_names=[output],
            dynamic_shapes=tuple(shapes.values()),
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            verbose=False,
        )
        onnx.save(compact(onnx.load(raw)), path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for trial in [example, *trials]:
        with torch.no_grad():
            expected = network(*trial.values()).numpy()
        (actual,) = session.run([output], {name: value.numpy() for name, value in trial.items()})
        worst = max(worst, float(np.abs(actual - expected).max()))
    print(
        f"{path.parent.name}: {path.stat().st_size / 1e6:.2f} MB, largest difference from torch {worst:.1e}",
        flush=True,
    )
    if worst > FLOAT16_TOLERANCE:
        raise SystemExit(f"{path} differs from torch by {worst}, more than {FLOAT16_TOLERANCE}")


def evaluation_prompts(count: int, seed: int = 20260) -> list[dict]:
    """Makes prompts of held-out scenes, with the attributes that a judge must find in the image."""
    rng = random.Random(seed)
    return [
        {
            "prompt": sentence(scene, rng),
            "seed": i,
            "background": COLOR_NAMES[scene.background],
            "color": COLOR_NAMES[scene.color],
            "shape": SHAPES[scene.shape],
        }
        for i, scene in enumerate(sample_scenes(count, rng, held_out=True), start=1)
    ]


def write_scheduler(out: Path, shift: float = 1.0) -> None:
    """Writes the scheduler's configuration unless the file exists.

    Its shift is tuned by hand with `npm run models:evaluate`, and survives an export.
    """
    scheduler = {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "num_train_timesteps": 1000,
        "shift": shift,
        "use_dynamic_shifting": False,
    }
    kept = out / "scheduler" / "scheduler_config.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(scheduler, indent=2) + "\n")


def write_evaluation(folder: Path, entries: list[dict]) -> None:
    """Writes `evaluation.json`: the attributes that a judge must find, one entry per line."""
    lines = ",\n".join("  " + json.dumps(entry) for entry in entries)
    (folder / "evaluation.json").write_text(f"[\n{lines}\n]\n")


def refresh_digests(manifest: Path) -> None:
    """Rewrites the `files:` block, the last of model.yaml, with the SHA-256 of every weight file, if there is
    a manifest.
    """
    if not manifest.exists():
        return
    folder = manifest.parent
    weights = sorted(
        p for p in folder.rglob("*") if p.suffix in (".onnx", ".json") and p.name != "evaluation.json"
    )
    lines = [
        f"  {p.relative_to(folder).as_posix()}: {hashlib.sha256(p.read_bytes()).hexdigest()}\n"
        for p in weights
    ]
    text, found = re.subn(
        r"^files:.*\Z", "files:\n" + "".join(lines), manifest.read_text(), flags=re.M | re.S
    )
    if found != 1:
        raise SystemExit(f"{manifest} has no `files:` block to refresh")
    manifest.write_text(text)


def export(work: Path, out: Path) -> None:
    """Reads autoencoder.pt, transformer.pt and, if it exists, decoder.pt of `work`; writes `out`."""
    warnings.filterwarnings("ignore")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns at length that torchvision is absent
    torch.manual_seed(0)
    autoencoder, saved = torch.load(work / "autoencoder.pt"), torch.load(work / "transformer.pt")
    refined = work / "decoder.pt"
    decoder = torch.load(refined) if refined.exists() else autoencoder
    print(
        f"transformer: step {saved['step']}, {saved['spent'] / 60:.0f} min, "
        f"{'finished' if saved['done'] else 'unfinished'}",
        flush=True,
    )

    tokenizer, quick = build_tokenizer(), FastTokenizer()
    text_encoder, transformer = TextEncoder(len(quick.vocab), LENGTH).eval(), Transformer().eval()
    text_encoder.load_state_dict(saved["text_encoder"])
    transformer.load_state_dict(saved["transformer"])
    (out / "tokenizer").mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer" / "tokenizer.json"))

    batch, length = Dim("batch", min=1, max=256), Dim("length", min=2, max=LENGTH)
    ids, mask = quick(["a large red circle on a blue background", ""])
    short = {"input_ids": ids[:1, :12], "attention_mask": mask[:1, :12]}
    export_network(
        text_encoder,
        {"input_ids": ids, "attention_mask": mask},
        "hidden_states",
        {"input_ids": {0: batch, 1: length}, "attention_mask": {0: batch, 1: length}},
        out / "text_encoder" / "model.onnx",
        [short],
    )

    def transformer_input(b: int, height: int, width: int, tokens: int) -> dict:
        mask = (torch.arange(tokens)[None] < torch.randint(2, tokens + 1, (b, 1))).long()
        return {
            "latents": torch.randn(b, LATENT_CHANNELS, height, width),
            "timestep": torch.rand(b) * 1000,
            "encoder_hidden_states": torch.randn(b, tokens, TEXT_WIDTH),
            "encoder_attention_mask": mask,
        }

    rows, columns = PATCH * Dim("rows", min=1, max=32), PATCH * Dim("columns", min=1, max=32)
    export_network(
        transformer,
        transformer_input(2, 14, 18, LENGTH),
        "velocity",
        {
            "latents": {0: batch, 2: rows, 3: columns},
            "timestep": {0: batch},
            "encoder_hidden_states": {0: batch, 1: length},
            "encoder_attention_mask": {0: batch, 1: length},
        },
        out / "transformer" / "model.onnx",
        [transformer_input(1, 16, 16, LENGTH), transformer_input(3, 12, 22, 9)],
    )

    height, width = Dim("height", min=2, max=64), Dim("width", min=2, max=64)
    export_network(
        LatentDecoder(autoencoder, decoder).eval(),
        {"latents": torch.randn(2, LATENT_CHANNELS, 14, 18)},
        "image",
        {"latents": {0: batch, 2: height, 3: width}},
        out / "vae_decoder" / "model.onnx",
        [{"latents": torch.randn(1, LATENT_CHANNELS, 22, 12)}],
    )
    height, width = DOWNSCALE * Dim("rows16", min=2, max=64), DOWNSCALE * Dim("columns16", min=2, max=64)
    export_network(
        LatentEncoder(autoencoder).eval(),
        {"image": torch.rand(2, 3, 224, 288) * 2 - 1},
        "latents",
        {"image": {0: batch, 2: height, 3: width}},
        out / "vae_encoder" / "model.onnx",
        [{"image": torch.rand(1, 3, 352, 192) * 2 - 1}],
    )

    write_scheduler(out)
    write_evaluation(out, evaluation_prompts(200))
    refresh_digests(out / "model.yaml")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    export(Path(sys.argv[1]), Path(sys.argv[2]))
