# SPDX-License-Identifier: Apache-2.0
"""PyTorch with transformers as a peer of run.py: two-point SPSA on the dequantised model.

usage: torch_peer.py MODEL ROWS THREADS DTYPE [--device cuda]   answers commands, see peer.py
       torch_peer.py --about                                    one line of JSON: versions

Commands: {"do": "prompt", "set": "64"}           log p of every row's target; not timed
          {"do": "losses", "batch": 0}            the loss of every row of a batch
          {"do": "step", "batch": 0, "method": "mezo"}

Methods. `mezo` is the published protocol (Malladi et al., arXiv 2305.17333): every option is a sequence
with its prompt, padded to the longest, logits of all tokens; all weights are moved by +e, -2e, +e with
the noise made again each time, then updated. `sparse` is the same forward with 0.1 % of every linear
matrix moved, by index_add. `tuned` is `sparse` with a forward that computes a prompt once for all its
one-token options, needs no mask (padding comes last), and applies the head at the answers alone. `equal`
is `mezo` with that forward: as many tokens as zoq takes.
"""

import ctypes
import gc
import json
import math
import sys
import time

import torch
import transformers
from peer import forget_peak, peak_bytes, serve

EPSILON, RATE, DENSITY = 1e-3, 1e-6, 0.001
NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def parameter_name(tensor):
    """The name in transformers of a tensor of a GGUF file."""
    outer = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    if tensor in outer:
        return outer[tensor]
    _, layer, kind, _ = tensor.split(".")
    return f"model.layers.{layer}.{NAMES[kind]}.weight"


def half_split(weight, heads):
    """Rows of a query or key matrix as transformers turns them, pairs (i, i + D/2), from those of
    GGUF, pairs (2 i, 2 i + 1)."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def read_model(path, dtype):
    import gguf  # here, for those who use the rest alone

    reader = gguf.GGUFReader(path)

    def field(key):
        return reader.fields[f"llama.{key}"].contents()

    tensors = {tensor.name: tensor for tensor in reader.tensors}
    heads, kv_heads = field("attention.head_count"), field("attention.head_count_kv")
    settings = transformers.LlamaConfig(
        vocab_size=int(tensors["token_embd.weight"].shape[1]),
        hidden_size=field("embedding_length"),
        intermediate_size=field("feed_forward_length"),
        num_hidden_layers=field("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=field("context_length"),
        rms_norm_eps=float(field("attention.layer_norm_rms_epsilon")),
        rope_parameters={"rope_type": "default", "rope_theta": float(field("rope.freq_base"))},
        tie_word_embeddings="output.weight" not in tensors,
        attn_implementation="sdpa",
        use_cache=False,
    )
    model = transformers.LlamaForCausalLM(settings).to(dtype).eval()
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        shape = tuple(int(n) for n in reversed(tensor.shape))
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        if ".attn_q." in name or ".attn_k." in name:
            weight = half_split(weight, heads if ".attn_q." in name else kv_heads)
        parameters.pop(parameter_name(name)).data.copy_(torch.from_numpy(weight.copy()))
    if parameters:
        sys.exit(f"torch_peer: {path}: no tensor for {', '.join(parameters)}")
    return model


class Dense:
    """All weights, moved in place."""

    def __init__(self, model):
        self.weights = [p.data for p in model.parameters()]

    def move(self, seed, scale):
        torch.manual_seed(seed)
        for w in self.weights:
            noise = torch.normal(mean=0, std=1, size=w.size(), dtype=w.dtype, device=w.device)
            w.add_(noise, alpha=scale)


class Sparse:
    """So many entries of every linear matrix, at random places."""

    def __init__(self, model):
        torch.manual_seed(1)
        self.entries = []
        for layer in model.model.layers:
            for p in layer.parameters():
                if p.dim() == 2:
                    count = math.floor(DENSITY * p.numel())
                    places = torch.randperm(p.numel(), device=p.device)[:count]
                    self.entries.append((p.data.view(-1), places.sort().values))

    def move(self, seed, scale):
        torch.manual_seed(seed)
        for w, places in self.entries:
            noise = torch.randn(len(places), dtype=w.dtype, device=w.device)
            w.index_add_(0, places, noise, alpha=scale)


def padded(sequences, device):
    """ids [rows, longest] and mask of the same shape; padding comes last."""
    longest = max(len(s) for s in sequences)
    ids = [s + [0] * (longest - len(s)) for s in sequences]
    mask = [[1] * len(s) + [0] * (longest - len(s)) for s in sequences]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def option_losses(scores, batch):
    """-log softmax(scores)[answer]; scores: [rows, options]."""
    answers = torch.tensor([row["answer"] for row in batch], device=scores.device)
    return torch.nn.functional.cross_entropy(scores, answers, reduction="none")


class Published:
    """Every option by itself, padded, all logits; an option's score is the mean over its tokens."""

    def __init__(self, model, batch):
        self.model, self.batch = model, batch
        texts = [(row["prompt"], option) for row in batch for option in row["choices"]]
        self.ids, self.mask = padded([p + option for p, option in texts], model.device)
        self.read = torch.zeros_like(self.ids[:, 1:])  # 1 where the next token is the option's
        for row, (prompt, option) in enumerate(texts):
            self.read[row, len(prompt) - 1 : len(prompt) - 1 + len(option)] = 1

    def losses(self):
        logits = self.model(input_ids=self.ids, attention_mask=self.mask).logits
        p = torch.log_softmax(logits[:, :-1].contiguous(), dim=-1)
        p = p.gather(-1, self.ids[:, 1:, None]).squeeze(-1)
        scores = (p * self.read).sum(-1) / self.read.sum(-1)
        return option_losses(scores.reshape(len(self.batch), -1).float(), self.batch)


class Tuned:
    """Prompts alone, one row of logits each: options are of one token."""

    def __init__(self, model, batch):
        self.model, self.batch = model, batch
        self.ids, _ = padded([row["prompt"] for row in batch], model.device)
        self.rows = torch.arange(len(batch), device=model.device)
        self.last = torch.tensor([len(row["prompt"]) - 1 for row in batch], device=model.device)
        options = [[o[0] for o in row["choices"]] for row in batch]
        self.options = torch.tensor(options, device=model.device)

    def losses(self):
        x = self.model.model(input_ids=self.ids).last_hidden_state
        logits = self.model.lm_head(x[self.rows, self.last]).float()
        scores = torch.log_softmax(logits, dim=-1).gather(-1, self.options)
        return option_losses(scores, self.batch)


class Peer:
    """Tasks of a model, where the model is. rows: as in the file ROWS."""

    def __init__(self, model, rows):
        self.model, self.rows = model, rows
        self.on_host = model.device.type == "cpu"
        self.views = {}
        self.steps = 0

    @torch.inference_mode()
    def prompt(self, set):
        rows = self.rows["prompt"][set]
        ids = torch.tensor([row["tokens"] for row in rows], device=self.model.device)
        x = self.model.model(input_ids=ids)
        logits = self.model.lm_head(x.last_hidden_state[:, -1]).float()
        targets = torch.tensor([[row["target"]] for row in rows], device=self.model.device)
        return {"scores": torch.log_softmax(logits, dim=-1).gather(-1, targets)[:, 0].tolist()}

    @torch.inference_mode()
    def losses(self, batch):
        return {"losses": Tuned(self.model, self.rows["step"][batch]).losses().tolist()}

    @torch.inference_mode()
    def step(self, batch, method):
        kind, forward = {
            "mezo": (Dense, Published),
            "equal": (Dense, Tuned),
            "sparse": (Sparse, Published),
            "tuned": (Sparse, Tuned),
        }[method]
        view = self.views.setdefault(kind, kind(self.model))
        loss = forward(self.model, self.rows["step"][batch]).losses
        self.steps += 1
        self.forget_peak()
        start = time.perf_counter()
        view.move(self.steps, EPSILON)
        above = loss().mean().item()
        view.move(self.steps, -2 * EPSILON)
        below = loss().mean().item()
        view.move(self.steps, EPSILON)
        view.move(self.steps, -RATE * (above - below) / (2 * EPSILON))
        self.wait()
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "loss": (above + below) / 2, "peak_bytes": self.peak_bytes()}

    def wait(self):
        """For work that a device still does."""
        if not self.on_host:
            torch.cuda.synchronize(self.model.device)

    def forget_peak(self):
        """Nothing is in flight after it; peak memory counts from here."""
        self.wait()
        gc.collect()
        if self.on_host:
            ctypes.CDLL(None).malloc_trim(0)
            forget_peak()
        else:
            torch.cuda.reset_peak_memory_stats(self.model.device)

    def peak_bytes(self):
        """On a device: of tensors, without the context and what PyTorch keeps for later."""
        if self.on_host:
            return peak_bytes()
        return torch.cuda.max_memory_allocated(self.model.device)


def main():
    if sys.argv[1] == "--about":
        about = {"torch": torch.__version__, "transformers": transformers.__version__}
        print(json.dumps(about))
        return
    path, rows, threads, dtype, *more = sys.argv[1:]
    if more and (len(more) != 2 or more[0] != "--device"):
        sys.exit(f"torch_peer: unknown option {more[0]}; there is --device NAME")
    torch.set_num_threads(int(threads))
    model = read_model(path, getattr(torch, dtype)).to(more[1] if more else "cpu")
    with open(rows) as file:
        peer = Peer(model, json.load(file))
    serve({"prompt": peer.prompt, "losses": peer.losses, "step": peer.step})


if __name__ == "__main__":
    main()
