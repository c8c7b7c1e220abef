"""Makes the tiny networks of the runners' unit tests.

`python make.py` writes wan/, mmaudio/ and red-is-unsafe.onnx beside this file (needs onnx).

They have the inputs and outputs of real networks and a known result: with data x0, the velocity at noise
level s of a point x is (x - x0) / s, so Euler steps end exactly at x0. x0 follows from the condition, as the
tests know:

- wan: where the mask says "given", x0 is the given latents; elsewhere the mean of the prompt's token ids
  / 10 - 1. The autoencoder averages 8 x 8 pixels and repeats them again; a latent frame stands for 4 frames,
  the first for 1.
- mmaudio: x0 is the mean brightness of each image (-1..1; 0 without one) plus the mean of the prompt's token
  ids / 100. The decoder makes each latent two columns, all rows of magnitude max(0, latent).
- red-is-unsafe: scores images as open_nsfw does, the higher the more red than green and blue they are.
"""

import json
from pathlib import Path

import onnx
from onnx import parser

HERE = Path(__file__).parent
HEAD = '<ir_version: 8, opset_import: ["" : 18]>'

TEXT = f"""{HEAD} text (int64[B,L] input_ids, int64[B,L] attention_mask) => (float[B,L,1] hidden_states)
<int64[1] last = {{-1}}> {{ x = Cast<to = 1>(input_ids) hidden_states = Unsqueeze(x, last) }}"""

# The mean of the token ids that the mask keeps: [B,1,1,…].
MEAN = """keep = Cast<to = 1>(encoder_attention_mask) flat = Squeeze(encoder_hidden_states, last)
    kept = Mul(flat, keep)
    sum = ReduceSum(kept, one) count = ReduceSum(keep, one) mean = Div(sum, count)"""

WAN = f"""{HEAD} wan (
    float[B,C,F,h,w] latents, float[B] timestep, float[B,L,1] encoder_hidden_states,
    int64[B,L] encoder_attention_mask) => (float[B,V,F,h,w] velocity)
<int64[1] last = {{-1}}, int64[1] one = {{1}}, int64[4] rest = {{1,2,3,4}}, int64[3] spatial = {{2,3,4}},
 int64[1] three = {{3}}, int64[1] four = {{4}}, int64[1] seven = {{7}}, int64[1] ten = {{10}},
 int64[1] zero = {{0}}, float thousand = {{1000.0}}, float tenth = {{10.0}}, float unit = {{1.0}}> {{
    {MEAN}
    scaled = Div(mean, tenth) shifted = Sub(scaled, unit) text = Unsqueeze(shifted, spatial)
    x = Slice(latents, zero, three, one) mask = Slice(latents, three, four, one)
    given = Slice(latents, seven, ten, one)
    free = Sub(unit, mask) from_given = Mul(mask, given)
    from_text = Mul(free, text) data = Add(from_given, from_text)
    off = Sub(x, data) level = Div(timestep, thousand) s = Unsqueeze(level, rest) velocity = Div(off, s) }}"""

ENCODER = f"""{HEAD} encoder (float[B,3,T,H,W] video) => (float[B,3,F,h,w] latents)
<int64[1] zero = {{0}}, int64[1] end = {{1000000}}, int64[1] two = {{2}}, int64[1] four = {{4}}> {{
    every = Slice(video, zero, end, two, four)
    latents = AveragePool<kernel_shape = [1,8,8], strides = [1,8,8]>(every) }}"""

NEAREST = 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'

DECODER = f"""{HEAD} decoder (float[B,3,F,h,w] latents) => (float[B,3,T,H,W] video)
<float[5] scales = {{1,1,4,8,8}}, int64[1] three = {{3}}, int64[1] end = {{1000000}}, int64[1] two = {{2}}> {{
    large = Resize<{NEAREST}>(latents, , scales)
    video = Slice(large, three, end, two) }}"""

VISUAL = f"""{HEAD} visual (float[B,3,A,S,S] frames) => (float[B,A,1] visual_states)
<int64[3] all = {{1,3,4}}, int64[1] last = {{-1}}> {{
    mean = ReduceMean<keepdims = 0>(frames, all) visual_states = Unsqueeze(mean, last) }}"""

AUDIO = f"""{HEAD} audio (
    float[B,1,A] latents, float[B] timestep, float[B,A,1] visual_states, float[B,L,1] encoder_hidden_states,
    int64[B,L] encoder_attention_mask) => (float[B,1,A] velocity)
<int64[1] last = {{-1}}, int64[1] one = {{1}}, int64[1] two = {{2}}, int64[2] rest = {{1,2}},
 float thousand = {{1000.0}}, float hundred = {{100.0}}> {{
    {MEAN}
    scaled = Div(mean, hundred) text = Unsqueeze(scaled, two)
    seen = Transpose<perm = [0,2,1]>(visual_states) data = Add(seen, text)
    off = Sub(latents, data) level = Div(timestep, thousand)
    s = Unsqueeze(level, rest) velocity = Div(off, s) }}"""

SPECTROGRAM = f"""{HEAD} spectrogram (float[B,1,A] latents) => (float[B,33,T] spectrogram)
<float[3] scales = {{1,33,2}}, float floor = {{0.01}}> {{
    loud = Relu(latents) above = Add(loud, floor) log = Log(above)
    spectrogram = Resize<{NEAREST}>(log, , scales) }}"""

# The rows of the weights are blue, green and red less their means; the columns safe and unsafe.
RED_IS_UNSAFE = f"""{HEAD} red (float[n,224,224,3] images) => (float[n,2] scores)
<int64[2] area = {{1,2}}, float[2] bias = {{12.0,0.0}},
 float[3,2] weights = {{0.0,-0.05,0.0,-0.05,0.0,0.1}}> {{
    colors = ReduceMean<keepdims = 0>(images, area) products = MatMul(colors, weights)
    logits = Add(products, bias) scores = Softmax<axis = 1>(logits) }}"""

VOCABULARY = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", "low", "high", "loud"]
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
BEGIN = {"SpecialToken": {"id": "[BOS]", "type_id": 0}}
END = {"SpecialToken": {"id": "[EOS]", "type_id": 0}}
FIRST = {"Sequence": {"id": "A", "type_id": 0}}
SECOND = {"Sequence": {"id": "B", "type_id": 1}}


def special_token(name):
    """A special token of the post-processor."""
    return {"id": name, "ids": [VOCABULARY.index(name)], "tokens": [name]}


TOKENIZER = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [{"id": i, "content": VOCABULARY[i], **FLAGS} for i in range(4)],
    "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {
        "type": "Split",
        "pattern": {"Regex": "[a-z0-9]+|[^a-z0-9\\s]"},
        "behavior": "Removed",
        "invert": True,
    },
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [BEGIN, FIRST, END],
        "pair": [FIRST, SECOND],
        "special_tokens": {name: special_token(name) for name in ("[BOS]", "[EOS]")},
    },
    "decoder": None,
    "model": {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {word: i for i, word in enumerate(VOCABULARY)},
    },
}
SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "use_dynamic_shifting": False,
}

MODELS = {
    "wan": {"text_encoder": TEXT, "transformer": WAN, "vae_encoder": ENCODER, "vae_decoder": DECODER},
    "mmaudio": {
        "text_encoder": TEXT,
        "visual_encoder": VISUAL,
        "transformer": AUDIO,
        "vae_decoder": SPECTROGRAM,
    },
}

red = parser.parse_model(RED_IS_UNSAFE)
onnx.checker.check_model(red)
onnx.save(red, HERE / "red-is-unsafe.onnx")
for model, networks in MODELS.items():
    for name, text in networks.items():
        network = parser.parse_model(text)
        onnx.checker.check_model(network)
        (HERE / model / name).mkdir(parents=True, exist_ok=True)
        onnx.save(network, HERE / model / name / "model.onnx")
    files = {"tokenizer/tokenizer.json": TOKENIZER, "scheduler/scheduler_config.json": SCHEDULER}
    for name, value in files.items():
        (HERE / model / name).parent.mkdir(parents=True, exist_ok=True)
        (HERE / model / name).write_text(json.dumps(value) + "\n")
