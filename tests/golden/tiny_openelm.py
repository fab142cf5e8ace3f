# SPDX-License-Identifier: Apache-2.0
"""Golden values of a tiny OpenELM model, for the C++ tests.

How to run: as tiny_llama.py beside it, whose helpers and formula of the weights it shares; --check compares with
tiny_openelm.json, --gguf writes the model as an F32 GGUF file too.

The model: architecture "openelm", vocabulary 96, hidden 32, layers 2, heads 4 and 8, key/value heads 1 and 2, head size
8, feed-forward 64 and 96, rope base 10000, RMS epsilon 1e-6, head tied to the embedding, no tokenizer. Tensors are
numbered in this order (F, Q and K: the layer's feed-forward size, and its heads times 8):

    t = 0           token_embd.weight  [96, 32]
    t = 1 + 9 i + j of layer i, where j counts through (named blk.i.NAME.weight)
                    attn_norm [32]  attn_qkv [Q + 2 K, 32]  attn_q_norm [8]  attn_k_norm [8]  attn_output [32, Q]
                    ffn_norm [32]  ffn_gate [F, 32]  ffn_up [F, 32]  ffn_down [32, F]
    t = 19          output_norm.weight [32]

Element e of tensor t is that of tiny_llama.py. The golden values come from a float64 forward pass written below after
the paper (Mehta et al., arXiv 2404.14619): as a Llama, with query, key and value in one matrix and each head of queries
and keys normed before it is turned, coordinates j and j + 4 of a head as a pair. transformers has no such model with
sizes by layer; with the sizes of the last layer in both, the pass is that of its Qwen3ForCausalLM (its norms of heads,
its rotary halves), and is checked against it before anything is written.
"""

import math

import numpy as np
import torch

from tiny_llama import digits9, make_tensor, mix64, next_token_loss, run_script

VOCABULARY, HIDDEN, HEAD_SIZE = 96, 32, 8
SIZES = [(4, 1, 64), (8, 2, 96)]  # heads, key/value heads, feed-forward of each layer
ROPE_BASE, EPSILON = 10000.0, 1e-6


def tensors_of(sizes):
    out = [("token_embd.weight", (VOCABULARY, HIDDEN))]
    for i, (heads, kv_heads, feed_forward) in enumerate(sizes):
        for name, shape in [
            ("attn_norm", (HIDDEN,)), ("attn_qkv", ((heads + 2 * kv_heads) * HEAD_SIZE, HIDDEN)),
            ("attn_q_norm", (HEAD_SIZE,)), ("attn_k_norm", (HEAD_SIZE,)), ("attn_output", (HIDDEN, heads * HEAD_SIZE)),
            ("ffn_norm", (HIDDEN,)), ("ffn_gate", (feed_forward, HIDDEN)), ("ffn_up", (feed_forward, HIDDEN)),
            ("ffn_down", (HIDDEN, feed_forward)),
        ]:
            out.append((f"blk.{i}.{name}.weight", shape))
    return out + [("output_norm.weight", (HIDDEN,))]


def weights_of(sizes):
    return {name: make_tensor(number, shape) for number, (name, shape) in enumerate(tensors_of(sizes))}


def in_double(weights):
    return {name: torch.from_numpy(values.astype(np.float64)) for name, values in weights.items()}


def rms_norm(x, gain):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + EPSILON) * gain


def turn(x):
    half = HEAD_SIZE // 2
    rates = ROPE_BASE ** (-2.0 * torch.arange(half, dtype=torch.float64) / HEAD_SIZE)
    angle = (torch.arange(x.shape[0], dtype=torch.float64)[:, None] * rates)[:, None, :]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)


def forward(w, sizes, ids):
    """The logits of every position, and the stream after the embedding and after each layer."""
    length = len(ids)
    x = w["token_embd.weight"][torch.tensor(ids)]
    residual = [x]
    hidden_future = torch.full((length, length), -math.inf, dtype=torch.float64).triu(1)
    for i, (heads, kv_heads, _) in enumerate(sizes):
        part = lambda name: w[f"blk.{i}.{name}.weight"]
        qkv = (rms_norm(x, part("attn_norm")) @ part("attn_qkv").T).view(length, heads + 2 * kv_heads, HEAD_SIZE)
        q, k, v = qkv.split([heads, kv_heads, kv_heads], dim=1)
        q = turn(rms_norm(q, part("attn_q_norm")))
        k = turn(rms_norm(k, part("attn_k_norm"))).repeat_interleave(heads // kv_heads, dim=1)
        v = v.repeat_interleave(heads // kv_heads, dim=1)
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(HEAD_SIZE) + hidden_future
        mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(length, heads * HEAD_SIZE)
        x = x + mixed @ part("attn_output").T
        h = rms_norm(x, part("ffn_norm"))
        x = x + (torch.nn.functional.silu(h @ part("ffn_gate").T) * (h @ part("ffn_up").T)) @ part("ffn_down").T
        residual.append(x)
    return rms_norm(x, w["output_norm.weight"]) @ w["token_embd.weight"].T, residual


NAMES = {"attn_norm": "input_layernorm", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
         "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
         "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def check_against_transformers(ids):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    heads, kv_heads, feed_forward = SIZES[-1]
    sizes = [SIZES[-1]] * 2
    weights = weights_of(sizes)
    config = Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=feed_forward, num_hidden_layers=2,
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=HEAD_SIZE, max_position_embeddings=64,
        rms_norm_eps=EPSILON, rope_theta=ROPE_BASE, tie_word_embeddings=True, hidden_act="silu", attention_bias=False,
        attn_implementation="eager", bos_token_id=None, eos_token_id=None, pad_token_id=None)
    model = Qwen3ForCausalLM(config).double().eval()
    state = {}
    for name, values in in_double(weights).items():
        parts = name.split(".")
        if parts[0] == "token_embd":
            state["model.embed_tokens.weight"] = state["lm_head.weight"] = values
        elif parts[0] == "output_norm":
            state["model.norm.weight"] = values
        elif parts[2] == "attn_qkv":
            split = values.split([heads * HEAD_SIZE, kv_heads * HEAD_SIZE, kv_heads * HEAD_SIZE])
            for letter, rows in zip("qkv", split):
                state[f"model.layers.{parts[1]}.self_attn.{letter}_proj.weight"] = rows
        else:
            state[f"model.layers.{parts[1]}.{NAMES[parts[2]]}.weight"] = values
    model.load_state_dict(state, strict=True)
    with torch.no_grad():
        theirs = model(torch.tensor([ids]), use_cache=False).logits[0]
    ours, _ = forward(in_double(weights), sizes, ids)
    # transformers keeps norms and rotary tables in float32 whatever the model's type.
    assert torch.allclose(theirs, ours, rtol=0, atol=1e-5), "logits differ from transformers'"


def write_gguf(path, weights):
    import gguf

    writer = gguf.GGUFWriter(path, "openelm")
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(len(SIZES))
    writer.add_feed_forward_length([s[2] for s in SIZES])
    writer.add_head_count([s[0] for s in SIZES])
    writer.add_head_count_kv([s[1] for s in SIZES])
    writer.add_key_length(HEAD_SIZE)
    writer.add_value_length(HEAD_SIZE)
    writer.add_rope_dimension_count(HEAD_SIZE)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(EPSILON)
    for name, values in weights.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_golden():
    weights = weights_of(SIZES)
    ids = [mix64(1000 + p) % VOCABULARY for p in range(24)]
    check_against_transformers(ids)
    logits, residual = forward(in_double(weights), SIZES, ids)
    return digits9({
        "config": {"vocabulary": VOCABULARY, "hidden": HIDDEN, "layers": len(SIZES), "head_size": HEAD_SIZE,
                   "heads": [s[0] for s in SIZES], "kv_heads": [s[1] for s in SIZES],
                   "feed_forward": [s[2] for s in SIZES], "rope_base": ROPE_BASE, "epsilon": EPSILON, "tied": True},
        "next_token": {"ids": ids, "logits_last": logits[-1], "logits_5": logits[5],
                       "loss": next_token_loss(logits, ids).item(), "residual_5": [r[5] for r in residual]},
        "tensors": [{"number": number, "name": name, "shape": list(shape),
                     "sum": math.fsum(weights[name].astype(np.float64).ravel()),
                     "first": weights[name].astype(np.float64).ravel()[:4].tolist()}
                    for number, (name, shape) in enumerate(tensors_of(SIZES))],
    }), weights


if __name__ == "__main__":
    run_script(__file__, "OpenELM", make_golden, write_gguf)
