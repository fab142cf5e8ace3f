# SPDX-License-Identifier: Apache-2.0
"""Golden values of a tiny Llama model, for the C++ tests.

How to run (CPU is enough, a few seconds):

    python3 -m venv venv
    venv/bin/pip install torch transformers gguf numpy
    venv/bin/python tests/golden/tiny_llama.py               # rewrites tiny_llama.json beside this script
    venv/bin/python tests/golden/tiny_llama.py --check       # compares with the file that is there
    venv/bin/python tests/golden/tiny_llama.py --gguf t.gguf # writes the model as an F32 GGUF file too

The model: architecture "llama", vocabulary 96, hidden 32, layers 2, heads 4, key/value heads 2, head size 8,
feed-forward 64, rope base 10000, RMS epsilon 1e-5, no biases, head not tied to the embedding, no tokenizer.

Weights follow a formula that a test can repeat, so no weight file is needed. Tensors are numbered in this order:

    t = 0           token_embd.weight   [96, 32]
    t = 1 + 9 i + j of layer i, where j counts through
                    attn_norm [32]  attn_q [32, 32]  attn_k [16, 32]  attn_v [16, 32]  attn_output [32, 32]
                    ffn_norm [32]  ffn_gate [64, 32]  ffn_up [64, 32]  ffn_down [32, 64]   (named blk.i.NAME.weight)
    t = 19          output_norm.weight  [32]
    t = 20          output.weight       [96, 32]

Shapes are [rows, columns] = [outputs, inputs]; element e is row-major in the rows as GGUF stores them. In 64-bit
wrapping arithmetic:

    mix64(z): z ^= z >> 30; z *= 0xBF58476D1CE4E5B9; z ^= z >> 27; z *= 0x94D049BB133111EB; z ^= z >> 31
    h = mix64(t * 0x9E3779B97F4A7C15 + e)
    u = (h >> 40) * 2^-24                  in [0, 1)
    matrix element = (float)((u - 0.5) * 2 * 0.3)
    norm element   = (float)(1 + (u - 0.5) * 0.2)

GGUF's llama layout keeps the rows of attn_q and attn_k such that rotary pairs are the neighbours (2 j, 2 j + 1) of a
head, turned by position * base^(-2 j / head size). transformers pairs (j, j + head size / 2) instead, so those rows are
reordered on the way there and back; every index in the output file is in GGUF order.

The golden values come from a float64 forward pass written below with torch operations and torch's gradients of it,
because transformers keeps parts of a Llama (norms, softmax, rotary tables) in float32 whatever the model's type. The
script checks that pass against transformers' LlamaForCausalLM (logits, loss and all gradients) before it writes.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch

VOCABULARY, HIDDEN, LAYERS, HEADS, KV_HEADS, FEED_FORWARD = 96, 32, 2, 4, 2, 64
HEAD_SIZE = HIDDEN // HEADS
ROPE_BASE, RMS_EPSILON = 10000.0, 1e-5
GOLDEN_RATIO = 0x9E3779B97F4A7C15
WORD = (1 << 64) - 1

LAYER_TENSORS = [
    ("attn_norm", (HIDDEN,)),
    ("attn_q", (HEADS * HEAD_SIZE, HIDDEN)),
    ("attn_k", (KV_HEADS * HEAD_SIZE, HIDDEN)),
    ("attn_v", (KV_HEADS * HEAD_SIZE, HIDDEN)),
    ("attn_output", (HIDDEN, HEADS * HEAD_SIZE)),
    ("ffn_norm", (HIDDEN,)),
    ("ffn_gate", (FEED_FORWARD, HIDDEN)),
    ("ffn_up", (FEED_FORWARD, HIDDEN)),
    ("ffn_down", (HIDDEN, FEED_FORWARD)),
]
TENSORS = (
    [("token_embd.weight", (VOCABULARY, HIDDEN))]
    + [(f"blk.{i}.{name}.weight", shape) for i in range(LAYERS) for name, shape in LAYER_TENSORS]
    + [("output_norm.weight", (HIDDEN,)), ("output.weight", (VOCABULARY, HIDDEN))]
)


# -- weights ----------------------------------------------------------------------------------------------------------


def mix64(z):
    z &= WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


def make_tensor(number, shape):
    count = math.prod(shape)
    base = number * GOLDEN_RATIO
    u = np.array([(mix64(base + e) >> 40) * 2.0**-24 for e in range(count)], dtype=np.float64)
    values = 1.0 + (u - 0.5) * 0.2 if len(shape) == 1 else (u - 0.5) * 2 * 0.3
    return values.astype(np.float32).reshape(shape)


def make_weights():
    return {name: make_tensor(number, shape) for number, (name, shape) in enumerate(TENSORS)}


# -- the float64 model, in GGUF's layout ------------------------------------------------------------------------------


def rms_norm(x, weight):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + RMS_EPSILON) * weight


def rotate(x, heads):
    positions = torch.arange(x.shape[0], dtype=torch.float64)
    rates = ROPE_BASE ** (-2.0 * torch.arange(HEAD_SIZE // 2, dtype=torch.float64) / HEAD_SIZE)
    angle = (positions[:, None] * rates)[:, None, :]
    even, odd = x.view(-1, heads, HEAD_SIZE // 2, 2).unbind(-1)
    turned = torch.stack(
        [even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos()], dim=-1)
    return turned.reshape(-1, heads, HEAD_SIZE)


def forward(w, ids):
    """Returns the logits of every position and the residual stream: after the embedding, then after each layer."""
    length = len(ids)
    x = w["token_embd.weight"][torch.tensor(ids)]
    residual = [x]
    hidden_future = torch.full((length, length), -math.inf, dtype=torch.float64).triu(1)
    for i in range(LAYERS):
        part = lambda name: w[f"blk.{i}.{name}.weight"]
        h = rms_norm(x, part("attn_norm"))
        q = rotate(h @ part("attn_q").T, HEADS)
        k = rotate(h @ part("attn_k").T, KV_HEADS).repeat_interleave(HEADS // KV_HEADS, dim=1)
        v = (h @ part("attn_v").T).view(length, KV_HEADS, HEAD_SIZE).repeat_interleave(HEADS // KV_HEADS, dim=1)
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(HEAD_SIZE) + hidden_future
        mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(length, HEADS * HEAD_SIZE)
        x = x + mixed @ part("attn_output").T
        h = rms_norm(x, part("ffn_norm"))
        x = x + (torch.nn.functional.silu(h @ part("ffn_gate").T) * (h @ part("ffn_up").T)) @ part("ffn_down").T
        residual.append(x)
    return rms_norm(x, w["output_norm.weight"]) @ w["output.weight"].T, residual


def next_token_loss(logits, ids):
    return torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]))


def option_log_likelihoods(w, prompt, option):
    """Log-likelihood of each token of the option after the prompt."""
    logits, _ = forward(w, prompt + option)
    log_p = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return log_p[torch.arange(len(option)), torch.tensor(option)]


def option_loss(w, prompt, options, answer):
    tokens = [option_log_likelihoods(w, prompt, option) for option in options]
    means = torch.stack([t.mean() for t in tokens])
    return -means.log_softmax(0)[answer], tokens, means


def gradients(w, loss):
    return dict(zip(w, torch.autograd.grad(loss, list(w.values()))))


# -- the same model in transformers -----------------------------------------------------------------------------------

NAMES = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


def transformers_name(name):
    whole = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
             "output.weight": "lm_head.weight"}
    if name in whole:
        return whole[name]
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{NAMES[part]}.weight"


def rotary_heads(name):
    return HEADS if "attn_q." in name else KV_HEADS if "attn_k." in name else 0


def to_halves(rows, heads):
    """Rows in GGUF's order (rotary neighbours) to transformers' order (rotary halves)."""
    return rows.reshape(heads, HEAD_SIZE // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def to_neighbours(rows, heads):
    return rows.reshape(heads, 2, HEAD_SIZE // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def check_against_transformers(weights, ids, logits, loss, grads):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=FEED_FORWARD, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=HEAD_SIZE, max_position_embeddings=64,
        rms_norm_eps=RMS_EPSILON, rope_theta=ROPE_BASE, tie_word_embeddings=False, hidden_act="silu",
        attn_implementation="eager", bos_token_id=None, eos_token_id=None, pad_token_id=None)
    model = LlamaForCausalLM(config).double().eval()
    state = {}
    for name, values in weights.items():
        heads = rotary_heads(name)
        rows = to_halves(values, heads) if heads else values
        state[transformers_name(name)] = torch.from_numpy(rows.astype(np.float64))
    model.load_state_dict(state, strict=True)
    their_logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    their_loss = next_token_loss(their_logits, ids)
    their_loss.backward()
    assert torch.allclose(their_logits, logits, rtol=0, atol=1e-5), "logits differ from transformers'"
    assert abs(their_loss.item() - loss.item()) < 1e-6, "loss differs from transformers'"
    parameters = dict(model.named_parameters())
    for name, ours in grads.items():
        theirs = parameters[transformers_name(name)].grad.numpy()
        heads = rotary_heads(name)
        theirs = to_neighbours(theirs, heads) if heads else theirs
        error = np.linalg.norm(theirs - ours.numpy()) / np.linalg.norm(theirs)
        assert error < 1e-5, f"gradient of {name} differs from transformers': relative error {error}"


def write_gguf(path, weights):
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_vocab_size(VOCABULARY)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HEAD_SIZE)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(RMS_EPSILON)
    for name, values in weights.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# -- the golden file --------------------------------------------------------------------------------------------------


def digits9(x):
    """Rounds every number to 9 significant digits; minus zero becomes zero."""
    if isinstance(x, torch.Tensor):
        x = x.detach().tolist()
    if isinstance(x, dict):
        return {key: digits9(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [digits9(value) for value in x]
    return float(f"{x:.9g}") + 0.0 if isinstance(x, float) else x


def probe_indices(name, shape, ids):
    """Four flat indices to compare gradients at.

    Of the embedding's four the first three lie in the rows of the tokens at positions 0, 3 and 11, the last in a row
    that no token uses, where the gradient is zero.
    """
    count = math.prod(shape)
    if name == "token_embd.weight":
        unused = next(row for row in range(VOCABULARY) if row not in ids)
        return [ids[0] * HIDDEN, ids[3] * HIDDEN + 7, ids[11] * HIDDEN + 31, unused * HIDDEN + 2]
    return [0, count // 3, count // 2 + 5, count - 1]


def make_golden():
    weights = make_weights()
    w = {name: torch.from_numpy(values.astype(np.float64)).requires_grad_() for name, values in weights.items()}

    ids = [mix64(1000 + p) % VOCABULARY for p in range(24)]
    ids[17] = ids[3]  # a token seen twice
    logits, residual = forward(w, ids)
    loss = next_token_loss(logits, ids)
    grads = gradients(w, loss)
    check_against_transformers(weights, ids, logits.detach(), loss.detach(), grads)

    prompt = [mix64(2000 + p) % VOCABULARY for p in range(7)]
    options = [[mix64(3000) % VOCABULARY], [mix64(4000 + p) % VOCABULARY for p in range(3)]]
    answer = 1
    task_loss, tokens, means = option_loss(w, prompt, options, answer)
    task_grads = gradients(w, task_loss)

    tensors = []
    for number, (name, shape) in enumerate(TENSORS):
        indices = probe_indices(name, shape, ids)
        values, flat = weights[name].astype(np.float64).ravel(), grads[name].reshape(-1)
        tensors.append({
            "number": number, "name": name, "shape": list(shape),
            "sum": math.fsum(values), "first": values[:4].tolist(),
            "grad_sumsq": (flat * flat).sum().item(),
            "indices": indices, "grad": [flat[i].item() for i in indices],
            "option_grad_sumsq": (task_grads[name] ** 2).sum().item(),
        })

    return digits9({
        "config": {
            "vocabulary": VOCABULARY, "hidden": HIDDEN, "layers": LAYERS, "heads": HEADS, "kv_heads": KV_HEADS,
            "head_size": HEAD_SIZE, "feed_forward": FEED_FORWARD, "rope_base": ROPE_BASE, "rms_epsilon": RMS_EPSILON,
            "tied": False,
        },
        "next_token": {
            "ids": ids, "logits_last": logits[-1], "logits_5": logits[5], "loss": loss.item(),
            "residual_5": [r[5] for r in residual],
        },
        "options": {
            "prompt": prompt, "options": options, "answer": answer,
            "token_log_likelihood": [t for t in tokens],
            "sum_log_likelihood": [t.sum().item() for t in tokens], "mean_log_likelihood": means,
            "loss": task_loss.item(),
        },
        "tensors": tensors,
    }), weights


def as_text(golden):
    """One line per entry of each object, one per tensor: readable and stable."""
    one = lambda value: json.dumps(value, separators=(", ", ": "))
    parts = []
    for key, value in golden.items():
        if isinstance(value, dict):
            body = ",\n".join(f"  {one(k)}: {one(v)}" for k, v in value.items())
            parts.append(f"{one(key)}: {{\n{body}\n}}")
        else:
            body = ",\n".join(f"  {one(v)}" for v in value)
            parts.append(f"{one(key)}: [\n{body}\n]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def same(a, b):
    """Equal structure, numbers equal to a relative 1e-7 (another machine may round the ninth digit the other way)."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, float) or isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-7, abs_tol=1e-12)
    return a == b


def run_script(script, model, make_golden, write_gguf):
    """What the scripts of all tiny models do when they are run. `make_golden` gives (golden, weights)."""
    here = Path(script).with_suffix(".json")
    parser = argparse.ArgumentParser(description=f"Makes the golden values of the tiny {model} model.")
    parser.add_argument("--out", type=Path, default=here, help="the golden file (default: beside this script)")
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    parser.add_argument("--gguf", type=Path, help="write the model as an F32 GGUF file too")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    golden, weights = make_golden()
    if arguments.gguf:
        write_gguf(arguments.gguf, weights)
    if arguments.check:
        if not same(json.loads(arguments.out.read_text(encoding="ascii")), golden):
            raise SystemExit("the golden file differs")
        print("the golden file agrees")
    else:
        arguments.out.write_text(as_text(golden), encoding="ascii", newline="\n")


if __name__ == "__main__":
    run_script(__file__, "Llama", make_golden, write_gguf)
