# SPDX-License-Identifier: Apache-2.0
"""Exports against the engines that they are for: the same logits, on a real model. Run by hand.

usage: engines.py ZOQ MODEL.gguf WORK [--rows ROWS.jsonl --count N --delta DELTA]

Needs torch, transformers, peft, safetensors, numpy, and for llama.cpp xllamacpp (all from the package registry;
what is missing is left out, with a line that says so). WORK gets the exports, and is used again. The values are
random, so large that they show, unless --delta names a run's. Truth is `zoq inspect --compute f32`. Printed for each
engine: the largest and the root mean square difference of log p over the whole vocabulary, beside how far the
values themselves move log p. With --rows (choices of one token), which needs the Python module zoq, also the
accuracy of the tuned GGUF file in llama.cpp and in zoq. Ends with 1 when a difference is beyond its bound.

llama.cpp rounds activations to 8 bits where weights are quantised, as all matrices of the model are, and after an
export still the head: the untuned model's own difference is the bound, times 2. With all tensors in f32 nothing is
rounded, and the bound is tight.
"""

import argparse
import importlib.util
import json
import pathlib
import subprocess
import sys

import numpy as np

TEXTS = ["A film to remember. It was", "The capital of France is"]
worst = []


def zoq(*arguments):
    done = subprocess.run([options.zoq, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"zoq {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def log_softmax(x):
    x = np.asarray(x, dtype=np.float64)
    x = x - x.max()
    return x - np.log(np.exp(x).sum())


def of_zoq(model, delta=None):
    """Tokens and log p of the next one, for every text."""
    out = []
    for text in TEXTS:
        more = ["--delta", delta] if delta else []
        line = json.loads(zoq("inspect", "--model", model, "--text", text, "--json", "--top", 1 << 20,
                              "--compute", "f32", *more))  # fmt: skip
        logits = np.zeros(len(line["top"]))
        for entry in line["top"]:
            logits[entry["id"]] = entry["logit"]
        out.append((line["tokens"], log_softmax(logits)))
    return out


def compare(name, found, wanted, bound):
    """found: log p by text. Rare tokens count less than likely ones: differences are of p > 1e-6."""
    largest = square = count = 0
    for a, (_, b) in zip(found, wanted):
        likely = b > np.log(1e-6)
        d = np.abs(a - b)[likely]
        largest, square, count = max(largest, d.max()), square + (d**2).sum(), count + d.size
    rms = (square / count) ** 0.5
    verdict = "" if bound is None else "ok" if largest <= bound else "TOO FAR"
    print(f"{name:44} largest {largest:9.2e}  rms {rms:9.2e}  {verdict}", flush=True)
    if verdict == "TOO FAR":
        worst.append(name)
    return largest


def make_values(work, model_hash, matrices):
    """A delta of uneven density and LoRA values, at random."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    tensors, about = {}, {"format": "zoq.delta.1", "model": model_hash}
    for name, rows, columns in matrices:
        n = int(rows * columns * rng.uniform(0, 0.004))
        tensors[name + ".index"] = np.sort(rng.choice(rows * columns, n, replace=False)).astype(np.int32)
        tensors[name + ".offset"] = (rng.normal(size=n) * 0.2).astype(np.float32)
        about["shape " + name] = f"{rows} {columns}"
    save_file(tensors, work / "delta.safetensors", about)
    tensors = {}
    for name, rows, columns in matrices:
        tensors[name + ".lora_a"] = (rng.normal(size=(8, columns)) / columns**0.5).astype(np.float32)
        tensors[name + ".lora_b"] = (rng.normal(size=(rows, 8)) * 0.02).astype(np.float32)
    about = {"format": "zoq.values.1", "view": "lora:rank=8,alpha=16,seed=0", "model": model_hash}
    save_file(tensors, work / "lora.safetensors", about)


class LlamaCpp:
    def __init__(self, model, lora=None):
        import xllamacpp as api

        how = api.CommonParams()
        how.model.path = str(model)
        how.n_ctx, how.n_parallel, how.warmup, how.verbosity = 512, 1, False, -1
        how.cpuparams.n_threads = how.cpuparams_batch.n_threads = 2
        how.cache_type_k = how.cache_type_v = api.ggml_type.GGML_TYPE_F32
        how.flash_attn_type = api.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        if lora:
            how.lora_adapters = [api.CommonAdapterLoraInfo(str(lora), 1.0)]
        self.server = api.Server(how)

    def __call__(self, tokens, top):
        """log p of the next token by id; where it is not among the `top` likeliest, the least."""
        asked = {"prompt": tokens, "n_predict": 1, "n_probs": top, "temperature": 0.0, "cache_prompt": False}
        answer = self.server.handle_completions(asked)
        answer = answer if isinstance(answer, dict) else json.loads(answer)
        if "choices" not in answer:
            sys.exit(f"llama.cpp: {answer}")
        return {e["id"]: e["logprob"] for e in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]}


def of_llama(model, wanted, lora=None):
    engine = LlamaCpp(model, lora)
    out = []
    for tokens, log_p in wanted:
        found = np.full(len(log_p), -1e9)
        for token, value in engine(tokens, len(log_p)).items():
            found[token] = value
        out.append(found)
    return out


def of_torch(model, wanted):
    import torch

    with torch.no_grad():
        return [log_softmax(model(torch.tensor([tokens])).logits[0, -1].double().numpy()) for tokens, _ in wanted]


def export(to, values, name, *more):
    out = options.work / name
    if not out.exists():
        given = ["--delta", values] if values else []
        print("   ", zoq("export", "--model", options.model, *given, "--to", to, "--out", out, *more).strip()
              .replace("\n", "\n    "))  # fmt: skip
    return out


def in_transformers(delta, lora, base, tuned, with_lora):
    import torch
    from transformers import AutoModelForCausalLM

    def opened(folder):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    plain = export("safetensors", None, "base")
    compare("transformers: untuned folder", of_torch(opened(plain), base), base, 1e-3)
    compare("transformers: tuned folder", of_torch(opened(export("safetensors", delta, "tuned")), tuned), tuned, 1e-3)
    half = export("safetensors", delta, "tuned-bf16", "--format", "bf16", "--shard-size", "60MB")
    compare("transformers: tuned folder, bf16, in shards", of_torch(opened(half), tuned), tuned, 0.5)
    if not importlib.util.find_spec("peft"):
        print("left out: there is no peft")
        return
    from peft import PeftModel

    for name, values, wanted in [("SHiRA", delta, tuned), ("LoRA", lora, with_lora)]:
        model = PeftModel.from_pretrained(opened(plain), export("peft", values, "peft-" + name))
        compare(f"peft: {name}", of_torch(model, wanted), wanted, 1e-3)
        compare(f"peft: {name}, merged", of_torch(model.merge_and_unload(), wanted), wanted, 1e-3)


def in_llama(delta, lora, base, tuned, with_lora):
    own = compare("llama.cpp: untuned model", of_llama(options.model, base), base, None)
    for format in ("f32", "f16", "bf16", "q8_0"):
        file = export("gguf", delta, f"tuned-{format}.gguf", "--format", format)
        bound = None if format == "q8_0" else 2 * own
        compare(f"llama.cpp: tuned, {format}", of_llama(file, tuned), tuned, bound)
        if format == "f32":
            compare("zoq: the same file", [p for _, p in of_zoq(file)], tuned, 1e-3)
            floats = options.work / "tuned-all-f32.gguf"
            if not floats.exists():
                zoq("quantize", "--model", file, "--format", "f32", "--embedding-format", "f32", "--out", floats)
            compare("llama.cpp: tuned, all of it in f32", of_llama(floats, tuned), tuned, 1e-2)
    adapter = export("gguf-lora", lora, "lora.gguf")
    compare("llama.cpp: LoRA adapter", of_llama(options.model, with_lora, adapter), with_lora, 2 * own)
    merged = export("gguf", lora, "lora-whole.gguf")
    compare("llama.cpp: LoRA in the model", of_llama(merged, with_lora), with_lora, 2 * own)


def accuracy(delta):
    """Share of rows whose likelier choice is right: of zoq and of llama.cpp on the exported file."""
    rows = [json.loads(line) for line in open(options.rows)][: options.count]
    part = options.work / "rows.jsonl"
    part.write_text("".join(json.dumps(r) + "\n" for r in rows))
    ours = json.loads(zoq("eval", "--model", options.model, "--delta", delta, "--data", part, "--json"))
    from zoq import Model  # the Python module

    words = Model(options.model)
    engine = LlamaCpp(options.work / "tuned-f32.gguf")
    right = 0
    for row in rows:
        choices = [words.encode(c) for c in row["choices"]]
        assert all(len(c) == 1 for c in choices), "choices of one token are needed"
        for top in (1 << 9, 1 << 16):  # all of the vocabulary takes long, and is seldom needed
            log_p = engine(words.encode(row["prompt"]).tolist(), top)
            if all(int(c[0]) in log_p for c in choices):
                break
        best = max(range(len(choices)), key=lambda n: log_p[int(choices[n][0])])
        right += best == row["answer"]
    print(f"accuracy on {len(rows)} rows: zoq {ours['accuracy']:.4f}, llama.cpp {right / len(rows):.4f}")


def main():
    options.work.mkdir(parents=True, exist_ok=True)
    about = json.loads(zoq("inspect", "--model", options.model, "--json"))["model"]
    if not (options.work / "lora.safetensors").exists():
        from gguf import GGUFReader

        matrices = [(t.name, int(t.shape[1]), int(t.shape[0])) for t in GGUFReader(options.model).tensors
                    if t.name.startswith("blk.") and len(t.shape) == 2]  # fmt: skip
        make_values(options.work, about["hash"], matrices)
    delta = options.delta or options.work / "delta.safetensors"
    lora = options.work / "lora.safetensors"
    base, tuned, with_lora = of_zoq(options.model), of_zoq(options.model, delta), of_zoq(options.model, lora)
    compare("what the delta moves", [p for _, p in tuned], base, None)
    compare("what LoRA moves", [p for _, p in with_lora], base, None)
    for module, run in [("transformers", in_transformers), ("xllamacpp", in_llama)]:
        if importlib.util.find_spec(module):
            run(delta, lora, base, tuned, with_lora)
        else:
            print("left out: there is no", module)
    if options.rows:
        accuracy(delta)
    return 1 if worst else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("zoq", "model"):
        parser.add_argument(name)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--rows")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--delta")
    options = parser.parse_args()
    sys.exit(main())
