# SPDX-License-Identifier: Apache-2.0
"""Tunes quantised language models by forward passes alone, at the few weights that matter.

    import zoq
    model = zoq.Model("model.gguf")
    mask = zoq.choose_mask(model, "fisher", text=open("general.txt").read())
    tuned = zoq.finetune(model, rows, mask=mask, layers="15-", steps=400)
    print(zoq.evaluate(model, held_out, tuned)["accuracy"])
    tuned.save("delta.safetensors")

Rows are dictionaries as a line of the command line's files has them, {"prompt": ..., "choices": [...],
"answer": 1} for one, or the path of such a file (str or os.PathLike). Masks and deltas are dictionaries of
numpy arrays by tensor; places are row * columns + column, ascending. (The order of the tensors decides which part of
a random direction is whose.) Whatever goes wrong raises zoq.Error.
"""

import json
import os

from . import _zoq
from ._zoq import Error, __version__

__all__ = ["Error", "Model", "Tuned", "choose_mask", "delta", "evaluate", "finetune", "load", "read_mask",
           "write_mask", "__version__"]  # fmt: skip


def _rows(rows):
    """Lines of JSON, and the path of a file of them: one of the two is empty."""
    if isinstance(rows, (str, os.PathLike)):
        return [], os.fspath(rows)
    return [json.dumps(row) for row in rows], ""


class Model:
    """A model and its tokenizer: a GGUF file, a Hugging Face folder, or what `zoq quantize` wrote.

    compute: what matrix products use: "f32", "bf16" or "i8". threads: 0 for one on each core. special_tokens: markers such as <|im_start|> in texts are control
    tokens. Calls on one model wait for each other.
    """

    def __init__(self, path, compute="f32", threads=0, special_tokens=False):
        self._model = _zoq.Model(os.fspath(path), compute, threads, special_tokens)

    @property
    def hash(self):
        """Of all tensors; what masks and deltas are bound to."""
        return self._model.hash

    @property
    def compute(self):
        return self._model.compute

    @property
    def threads(self):
        return self._model.threads

    @property
    def tensors(self):
        """Name -> (rows, columns)."""
        return self._model.tensors

    def encode(self, text):
        """The tokens of a text, an array of int32 [n]."""
        return self._model.encode(text)

    def decode(self, tokens):
        """The bytes that tokens spell. A character may be spread over tokens."""
        return self._model.decode([int(token) for token in tokens])

    def logits(self, text, tuned=None):
        """The logits after a text, an array of float32 [vocabulary]; `text` may be tokens."""
        tokens = self.encode(text) if isinstance(text, str) else text
        return _zoq.logits(self._model, [int(token) for token in tokens], _values(self, tuned))


class Tuned:
    """Tuned values, and what is needed to put them on their model again.

    places: tensor -> array of int32 [k], of views with a mask. values: block -> array of float32
    [rows, columns]; of the view sparse the block TENSOR.offset is [1, k]. What a run was: `losses`, an array of
    one a step, `epsilon`, `tokens`, `seconds`, `evaluations`; None where they come from a file.
    """

    losses = epsilon = tokens = seconds = evaluations = None

    def __init__(self, values):
        self._values = values

    @property
    def view(self):
        return self._values.view

    @property
    def model_hash(self):
        return self._values.model_hash

    @property
    def places(self):
        return self._values.places

    @property
    def values(self):
        return self._values.values

    def save(self, path):
        """Writes a delta, or the values of another view, whole or not at all."""
        self._values.save(os.fspath(path))


def _values(model, tuned):
    if tuned is None:
        return _zoq.no_values(model._model)
    return (tuned if isinstance(tuned, Tuned) else load(model, tuned))._values


def load(model, path):
    """Tuned values of a file that `zoq finetune` or Tuned.save wrote for this model."""
    return Tuned(_zoq.read_values(model._model, os.fspath(path)))


def delta(model, offsets):
    """Tuned values from {tensor: (places, offsets)}: the weight in use is decode(base) + offset there."""
    values = [_float32(pair[1]) for pair in offsets.values()]
    return Tuned(_zoq.delta(model._model, _places({name: pair[0] for name, pair in offsets.items()}), values))


def choose_mask(model, score="fisher", *, text="", rows=(), density=0.001, scope="matrix", samples=0, length=128,
                seed=0, settings="", progress=None):  # fmt: skip
    """The places of highest score: tensor -> array of int32.

    text: general text itself, rows: labelled rows, for scores that see one of them. samples: windows of `length`
    tokens, or rows; 0: as many as suit the score. progress(done, all) is called after each piece of work.
    """
    return _zoq.choose_mask(model._model, score, settings, text, *_rows(rows), density, scope, samples, length,
                            seed, progress)  # fmt: skip


def read_mask(model, path):
    """A mask's places from a file that `zoq mask` or write_mask wrote for this model."""
    return _zoq.read_mask(model._model, os.fspath(path))


def write_mask(model, mask, path):
    """Writes a mask for `zoq finetune --mask`, whole or not at all."""
    _zoq.write_mask(model._model, _places(mask), os.fspath(path))


def finetune(model, rows, *, mask=None, start=None, view="sparse", layers="", exclude="", estimator="spsa:probes=3",
             optimizer="sgd", direction="gaussian", schedule="cosine", objective="", compute="auto", epsilon=None, steps=400,
             batch_size=16, row_order="stratified", seed=0, clip=0.0, clip_norm=0.0, progress=None):  # fmt: skip
    """Tunes the model on rows and returns Tuned. Nothing of the model changes.

    The settings are those of `zoq finetune`, with its defaults. mask: places by tensor, or the path of a mask;
    start: Tuned values, or the path of some, to go on from. compute: as of Model, or "auto": the fastest that suits
    the estimator. epsilon None: measured. progress(step, steps, loss)
    is called after every step, and ends the run when it returns False.
    """
    keywords = dict(locals())
    settings = _zoq.RunSettings()
    for name in ("view", "layers", "exclude", "estimator", "optimizer", "direction", "schedule", "objective", "compute",
                 "epsilon", "steps", "batch_size", "row_order", "seed", "clip", "clip_norm"):  # fmt: skip
        setattr(settings, name, keywords[name])
    if isinstance(mask, (str, os.PathLike)):
        mask = read_mask(model, mask)
    places = None if mask is None else _places(mask)
    start = None if start is None else _values(model, start)
    values, about = _zoq.finetune(model._model, *_rows(rows), places, start, settings, progress)
    out = Tuned(values)
    for name, value in about.items():
        setattr(out, name, value)
    return out


def evaluate(model, rows, tuned=None, *, objective="", batch_size=64):
    """Loss and accuracy of rows: a dictionary of loss, accuracy (None where the rows have no choices), rows,
    tokens, and of each row losses (float64) and choices (int32; None likewise). tuned: Tuned, or the path of some.
    """
    return _zoq.evaluate(model._model, *_rows(rows), _values(model, tuned), objective, batch_size)


def _places(mask):
    import numpy

    return [(name, numpy.ascontiguousarray(places, dtype=numpy.int32)) for name, places in mask.items()]


def _float32(values):
    import numpy

    return numpy.ascontiguousarray(values, dtype=numpy.float32).reshape(-1)
