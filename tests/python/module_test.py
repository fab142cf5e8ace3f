# SPDX-License-Identifier: Apache-2.0
"""The Python module beside the command line: same masks, values and losses.

usage: module_test.py ZOQ WORKSHOP [PAGE]

ZOQ is the program, WORKSHOP the one that makes a tiny model and rows (tests/crash/workshop.cpp); PAGE is
docs/how-to/python.md, whose blocks are run. Module and program may be compiled with other flags, and then round
otherwise: losses may differ by WITHIN. Needs the module `zoq` and numpy; ends with 77 without them.
"""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import unittest

if not all(map(importlib.util.find_spec, ("zoq", "numpy"))):
    print("skipped: there is no module zoq, or no numpy")
    sys.exit(77)
import numpy

import zoq

ZOQ, WORKSHOP, PAGE = "", "", ""
WITHIN = 1e-6
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = {"estimator": "spsa:probes=2", "optimizer": "sgd:rate=0.01", "epsilon": 1e-2, "steps": 12, "batch_size": 4}
COMPUTE = {"compute": "f32"}
OPTIONS = ["--estimator", "spsa:probes=2", "--learning-rate", "1e-2", "--epsilon", "1e-2", "--steps", "12",
           "--batch-size", "4", "--compute", "f32", "--eval-every", "0", "--eval-rows", "0"]  # fmt: skip


def command(*arguments):
    done = subprocess.run([ZOQ, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"zoq {arguments}: {done.stderr}")
    return done.stdout


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


class Module(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        subprocess.run([WORKSHOP, str(cls.folder)], check=True)
        cls.model = zoq.Model(cls.folder / "model.gguf")
        cls.text = (cls.folder / "text.txt").read_text()
        cls.rows = rows_of(cls.folder / "rows" / "train.jsonl")
        cls.mask = zoq.choose_mask(cls.model, text=cls.text, density=0.01, samples=4, length=16)
        command("mask", "--model", cls.folder / "model.gguf", "--text", cls.folder / "text.txt", "--density", "0.01",
                "--samples", "4", "--length", "16", "--out", cls.folder / "mask.safetensors")  # fmt: skip
        command("finetune", "--model", cls.folder / "model.gguf", "--data", cls.folder / "rows", "--mask",
                cls.folder / "mask.safetensors", "--out", cls.folder / "run", *OPTIONS)  # fmt: skip
        cls.delta = cls.folder / "run" / "delta.safetensors"

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def same_arrays(self, found, wanted):
        self.assertEqual(sorted(found), sorted(wanted))
        for name, values in wanted.items():
            self.assertTrue(numpy.array_equal(found[name], values), name)

    def test_model(self):
        self.assertEqual(len(self.model.hash), 16)
        self.assertEqual(self.model.compute, "f32")
        self.assertTrue(all(len(shape) == 2 for shape in self.model.tensors.values()))
        tokens = self.model.encode("row 3 fine")
        self.assertEqual(tokens.dtype, numpy.int32)
        self.assertEqual(self.model.decode(tokens), b"row 3 fine")

    def test_mask_is_that_of_the_command_line(self):
        self.same_arrays(self.mask, zoq.read_mask(self.model, self.folder / "mask.safetensors"))
        zoq.write_mask(self.model, self.mask, self.folder / "again.safetensors")
        self.same_arrays(zoq.read_mask(self.model, self.folder / "again.safetensors"), self.mask)
        random = zoq.choose_mask(self.model, "random", density=0.01, seed=3)
        self.assertEqual(sorted(random), sorted(self.mask))
        of_rows = zoq.choose_mask(self.model, "fisher-task", rows=self.rows, density=0.01)
        self.same_arrays(of_rows, zoq.choose_mask(self.model, "fisher-task", density=0.01,
                                                  rows=self.folder / "rows" / "train.jsonl"))  # fmt: skip

    def test_values_are_those_of_the_command_line(self):
        steps = []
        tuned = zoq.finetune(self.model, self.rows, mask=self.mask, **RUN, **COMPUTE,
                             progress=lambda step, all, loss: steps.append((step, all, loss)))  # fmt: skip
        wanted = zoq.load(self.model, self.delta)
        self.same_arrays(tuned.places, wanted.places)
        for name, values in wanted.values.items():  # a slope errs by what losses do, over 2 epsilon
            error = numpy.abs(tuned.values[name] - values).max(initial=0)
            self.assertLess(error, 12 * 0.01 * WITHIN / 1e-2 * 5, name)
        self.assertGreater(max(numpy.abs(values).max(initial=0) for values in tuned.values.values()), 1e-3)
        again = zoq.finetune(self.model, self.folder / "rows" / "train.jsonl", mask=self.mask, **RUN, **COMPUTE)
        self.same_arrays(again.values, tuned.values)
        self.assertEqual([at[:2] for at in steps], [(n, 12) for n in range(1, 13)])
        self.assertEqual([at[2] for at in steps], list(tuned.losses))
        self.assertEqual(tuned.evaluations, 48)
        tuned.save(self.folder / "saved.safetensors")
        self.same_arrays(zoq.load(self.model, self.folder / "saved.safetensors").values, tuned.values)

    def test_losses_are_those_of_the_command_line(self):
        for delta in (None, self.delta):
            extra = ["--delta", delta] if delta else []
            wanted = json.loads(command("eval", "--model", self.folder / "model.gguf", "--data",
                                        self.folder / "rows", "--json", *extra))  # fmt: skip
            found = zoq.evaluate(self.model, self.folder / "rows" / "test.jsonl", delta)
            self.assertAlmostEqual(found["loss"], wanted["loss"], delta=WITHIN)
            self.assertEqual(found["accuracy"], wanted["accuracy"])
            self.assertAlmostEqual(found["losses"].mean(), found["loss"], delta=1e-9)
            answers = [row["answer"] for row in rows_of(self.folder / "rows" / "test.jsonl")]
            self.assertEqual((found["choices"] == answers).mean(), found["accuracy"])

    def test_delta_from_numpy(self):
        given = zoq.load(self.model, self.delta)
        made = zoq.delta(self.model, {name: (places, given.values[name + ".offset"])
                                      for name, places in given.places.items()})  # fmt: skip
        text = "row 5 poor"
        line = json.loads(command("inspect", "--model", self.folder / "model.gguf", "--delta", self.delta, "--text",
                                  text, "--top", "1000", "--json"))  # fmt: skip
        logits = self.model.logits(text, made)
        for entry in line["top"]:
            self.assertAlmostEqual(float(logits[entry["id"]]), entry["logit"], delta=1e-5)
        self.assertFalse(numpy.array_equal(logits, self.model.logits(text)))
        self.assertTrue(numpy.array_equal(logits, self.model.logits(self.model.encode(text), self.delta)))

    def test_other_views_go_on_from_where_they_ended(self):
        lora = zoq.finetune(self.model, self.rows, view="lora:rank=2", **{**RUN, "steps": 3})
        self.assertTrue(lora.view.startswith("lora:rank=2"))
        self.assertEqual(lora.places, {})
        more = zoq.finetune(self.model, self.rows, start=lora, **{**RUN, "steps": 2, "seed": 1})
        self.assertEqual(more.view, lora.view)
        self.assertEqual(sorted(more.values), sorted(lora.values))
        texts = zoq.evaluate(self.model, [{"text": "word1 word2"}, {"text": "word3"}], more)
        self.assertIsNone(texts["accuracy"])
        self.assertIsNone(texts["choices"])

    def test_epsilon_is_measured_and_progress_stops(self):
        tuned = zoq.finetune(self.model, self.rows, mask=self.mask, **{**RUN, "epsilon": None},
                             progress=lambda step, steps, loss: step < 4)  # fmt: skip
        self.assertEqual(len(tuned.losses), 4)
        self.assertTrue(0 < tuned.epsilon < 1)
        seen = []
        zoq.choose_mask(self.model, text=self.text, samples=2, length=8, progress=lambda *at: seen.append(at))
        self.assertEqual(seen[-1][0], seen[-1][1])

    def test_a_callback_may_evaluate(self):
        seen = []
        tuned = zoq.finetune(self.model, self.rows, mask=self.mask, **{**RUN, "steps": 3},
                             progress=lambda *at: seen.append(zoq.evaluate(self.model, self.rows)["loss"]))  # fmt: skip
        self.assertEqual(seen, [zoq.evaluate(self.model, self.rows)["loss"]] * 3)
        self.same_arrays(tuned.values, zoq.finetune(self.model, self.rows, mask=self.mask, **{**RUN, "steps": 3}).values)

    def test_threads_wait_for_each_other(self):
        found = [None] * 4
        wanted = zoq.evaluate(self.model, self.rows)["loss"]

        def work(i):
            found[i] = zoq.evaluate(self.model, self.rows)["loss"]

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(found, [wanted] * 4)

    def test_mistakes(self):
        def fails(words, call, *arguments, **keywords):
            with self.assertRaisesRegex(zoq.Error, words):
                call(*arguments, **keywords)

        name = next(iter(self.mask))
        rows, columns = self.model.tensors[name]
        fails("missing.gguf", zoq.Model, "missing.gguf")
        fails("f16", zoq.Model, self.folder / "model.gguf", compute="f16")
        fails("row 2: ", zoq.evaluate, self.model, [self.rows[0], {"prompt": "x"}])
        fails("there are no rows", zoq.evaluate, self.model, [])
        fails("none.jsonl", zoq.evaluate, self.model, "none.jsonl")
        fails("context", zoq.evaluate, self.model, [{"text": "word " * 5000}])
        fails("mask", zoq.finetune, self.model, self.rows, steps=1)
        fails("no tensor \"other\"", zoq.finetune, self.model, self.rows, mask={"other": [1]}, steps=1)
        fails("outside", zoq.finetune, self.model, self.rows, mask={name: [rows * columns]}, steps=1)
        fails("ascend", zoq.finetune, self.model, self.rows, mask={name: [3, 3]}, steps=1)
        fails("not both", zoq.finetune, self.model, self.rows, mask=self.mask, start=self.delta, steps=1)
        fails("spsaa", zoq.finetune, self.model, self.rows, mask=self.mask, estimator="spsaa", steps=1)
        fails("steps", zoq.finetune, self.model, self.rows, mask=self.mask, steps=0)
        fails("row_order", zoq.finetune, self.model, self.rows, mask=self.mask, row_order="sorted", steps=1)
        fails("2 offsets, wanted 1", zoq.delta, self.model, {name: ([1], [0.5, 0.5])})
        fails("unknown score", zoq.choose_mask, self.model, "fishers")
        fails("needs", zoq.choose_mask, self.model, "fisher")
        fails("takes no rows", zoq.choose_mask, self.model, "fisher", rows=self.rows)
        fails("takes no text", zoq.choose_mask, self.model, "random", text=self.text)
        fails("not both", zoq.choose_mask, self.model, "neuron", text=self.text, rows=self.rows)
        fails("takes no mask", zoq.finetune, self.model, self.rows, view="lora", mask=self.mask, steps=1)
        fails("density", zoq.choose_mask, self.model, "random", density=0.0)

        def raise_it(*at):
            raise ValueError("enough")

        with self.assertRaisesRegex(ValueError, "enough"):
            zoq.finetune(self.model, self.rows, mask=self.mask, **RUN, progress=raise_it)

    def test_page(self):
        names = {}
        before = os.getcwd()
        os.chdir(self.folder)
        try:
            for code in BLOCK.findall(pathlib.Path(PAGE).read_text(encoding="utf-8")):
                exec(compile(code, PAGE, "exec"), names)  # noqa: S102: the page's own code
        finally:
            os.chdir(before)
        self.assertIn("tuned", names)


if __name__ == "__main__":
    ZOQ, WORKSHOP, PAGE = (str(pathlib.Path(a).resolve()) for a in sys.argv[1:4])
    unittest.main(argv=sys.argv[:1])
