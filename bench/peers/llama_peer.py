# SPDX-License-Identifier: Apache-2.0
"""llama.cpp, by the low-level functions of llama-cpp-python, as a peer of run.py.

usage: llama_peer.py MODEL ROWS THREADS            answers commands, see peer.py
       llama_peer.py --about                       one line of JSON: version, instruction sets
       llama_peer.py --rows MODEL DATA OUT SETTINGS
                                                   writes OUT, the token rows that all peers take

Commands: {"do": "prompt", "set": "64", "mode": "single"}   each row a batch of its own
          {"do": "prompt", "set": "64", "mode": "joint"}    as many rows as fit in 512 tokens a batch
Logits are asked for at the last token of a row only. The timed part is llama_decode and waiting for
the logits; batches are filled before it, and log p is computed after it.
"""

import ctypes
import json
import math
import sys
import time

import llama_cpp as api
import numpy as np
from peer import forget_peak, peak_bytes, serve

BATCH = 512  # n_batch and n_ubatch, the default of llama.cpp's own benchmark


def load(path, vocabulary_only=False):
    settings = api.llama_model_default_params()
    settings.vocab_only = vocabulary_only
    model = api.llama_model_load_from_file(path.encode(), settings)
    if not model:
        sys.exit(f"llama_peer: {path}: llama.cpp cannot load it")
    return model, api.llama_model_get_vocab(model)


class Peer:
    def __init__(self, path, rows, threads):
        self.model, vocabulary = load(path)
        self.columns = api.llama_vocab_n_tokens(vocabulary)
        with open(rows) as file:
            self.sets = json.load(file)["prompt"]
        self.threads = threads
        self.contexts = {}

    def context(self, rows):
        """A context for `rows` rows in a batch; kept for later commands."""
        if rows not in self.contexts:
            longest = max(len(row["tokens"]) for s in self.sets.values() for row in s)
            how = api.llama_context_default_params()
            how.n_ctx = longest if rows == 1 else max(BATCH, longest)
            how.n_batch = how.n_ubatch = BATCH
            how.n_seq_max = rows
            how.n_threads = how.n_threads_batch = self.threads
            self.contexts[rows] = api.llama_init_from_model(self.model, how)
            if not self.contexts[rows]:
                sys.exit(f"llama_peer: no context for {rows} rows of {how.n_ctx // rows} tokens")
        return self.contexts[rows]

    def prompt(self, set, mode):
        rows = self.sets[set]
        length = len(rows[0]["tokens"])
        at_once = 1 if mode == "single" else max(1, min(len(rows), BATCH // length))
        context = self.context(at_once)
        memory = api.llama_get_memory(context)
        batches = [self.batch(rows[i : i + at_once]) for i in range(0, len(rows), at_once)]
        scores = []
        seconds = 0.0
        forget_peak()
        for batch, ends, targets in batches:
            api.llama_memory_clear(memory, False)
            start = time.perf_counter()
            if api.llama_decode(context, batch) != 0:
                sys.exit("llama_peer: llama_decode failed")
            found = [api.llama_get_logits_ith(context, end) for end in ends]
            seconds += time.perf_counter() - start
            for logits, target in zip(found, targets):
                x = np.ctypeslib.as_array(logits, (self.columns,)).astype(np.float64)
                scores.append(x[target] - x.max() - math.log(np.exp(x - x.max()).sum()))
        peak = peak_bytes()
        for batch, _, _ in batches:
            api.llama_batch_free(batch)
        return {"seconds": seconds, "scores": scores, "peak_bytes": peak}

    def batch(self, rows):
        """A llama_batch of `rows`, the places of their last tokens, and their targets."""
        batch = api.llama_batch_init(sum(len(row["tokens"]) for row in rows), 0, 1)
        n, ends = 0, []
        for sequence, row in enumerate(rows):
            for position, token in enumerate(row["tokens"]):
                batch.token[n], batch.pos[n] = token, position
                batch.n_seq_id[n], batch.seq_id[n][0] = 1, sequence
                batch.logits[n] = position + 1 == len(row["tokens"])
                n += 1
            ends.append(n - 1)
        batch.n_tokens = n
        return batch, ends, [row["target"] for row in rows]


def make_rows(model, data, out, settings):
    """Rows of exactly so many tokens, cut from the data's prompts one after another, with the token
    that comes next as the answer; and batches of the data's own rows."""
    _, vocabulary = load(model, vocabulary_only=True)

    def encode(text, begins):
        raw = text.encode()
        room = len(raw) + 16
        tokens = (api.llama_token * room)()
        count = api.llama_tokenize(vocabulary, raw, len(raw), tokens, room, begins, False)
        return list(tokens[:count])

    with open(data) as file:
        data_rows = [json.loads(line) for line in file]
    size = settings["batch_size"]
    wanted = settings["batches"] * size
    if not all("choices" in row for row in data_rows) or len(data_rows) < wanted:
        sys.exit(f"llama_peer: {data}: {wanted} rows with \"choices\" are needed")
    choices = [
        {
            "prompt": encode(row["prompt"], True),
            "choices": [encode(choice, False) for choice in row["choices"]],
            "answer": row["answer"],
        }
        for row in data_rows[:wanted]
    ]
    if any(len(choice) != 1 for row in choices for choice in row["choices"]):
        sys.exit(f"llama_peer: {data}: a choice has several tokens; the tuned loop needs one")
    stream = [token for row in data_rows for token in encode(row["prompt"] + "\n", False)]
    prompts = {}
    for length in settings["lengths"]:
        count = max(1, settings["tokens"] // length)
        if len(stream) < count * (length + 1):
            sys.exit(f"llama_peer: {data}: too short for {count} rows of {length} tokens")
        cuts = range(0, count * (length + 1), length + 1)
        prompts[length] = [
            {"tokens": stream[at : at + length], "target": stream[at + length]} for at in cuts
        ]
    batches = [choices[at : at + size] for at in range(0, wanted, size)]
    with open(out, "w") as file:
        json.dump({"prompt": prompts, "step": batches}, file)


def about():
    flags = api.llama_print_system_info().decode().strip(" |").replace(" = 1", "")
    print(json.dumps({"llama-cpp-python": api.__version__, "flags": flags}))


@api.llama_log_callback
def silent(level, text, data):
    pass


if __name__ == "__main__":
    api.llama_log_set(silent, ctypes.c_void_p(0))
    api.llama_backend_init()
    if sys.argv[1] == "--about":
        about()
    elif sys.argv[1] == "--rows":
        make_rows(*sys.argv[2:5], json.loads(sys.argv[5]))
    else:
        peer = Peer(sys.argv[1], sys.argv[2], int(sys.argv[3]))
        serve({"prompt": peer.prompt})
