#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes plans for the program `study`: which runs answer which question.

    plan.py quick > plan.jsonl                            6 runs of 5 steps, to see that all works
    plan.py search [--results R] [--methods GLOB]         the next rung of the search for rates
    plan.py studies [--results R] [--studies abcdefgh]    the studies, with the rates that were found

A method is a recipe whose rate is open. Its search is successive halving (Jamieson and Talwalkar, arXiv
1502.07943): five rates with few forwards, the better half of them with twice as many, and so on to one; the
loss on the valid rows decides. It is made on movies, with a seed of its own. `search` reads the results so
far and writes all rungs up to the next; it writes nothing more once all methods have their rate, and says so
on standard error. A best rate at the end of its range is reported there: its range should be wider.

The studies (equal forwards of rows throughout: --forwards counts batches of 16; `--seeds` for what is compared,
`--wide-seeds` for broad sweeps):

    a  masks: Fisher on general text and on rows, magnitude both ways, chance; 10, 1, 0.1, 0.01 %
    b  the sparse view beside all weights, LoRA, prefix, prompt, scales, one layer; shots; no tuning
    c  estimators with sgd, optimizers with spsa
    d  formats (files of formats.sh) beside the float weights, with and without kept values
    e  one mask for all tasks, beside a task's own and chance; what masks keep of other gradients
    f  epsilon and compute policy; errors of slopes, also of 4 bits beside their own floats
    g  what a step is made of: order of the rows, rows of a batch, layers that are tuned
    h  headline: 300 plain steps; cheaper recipes with a third of their rows, and with those of 600
"""
import argparse
import fnmatch
import json
import math
import sys

TASKS = ("movies", "products", "tweets", "source")
TEST_ROWS = {"movies": 1000, "products": 600, "tweets": 600, "source": 600}
FLOAT = "formats/f32.gguf"  # the same weights as floats, of formats.sh
DENSITIES = {"10 %": 0.1, "1 %": 0.01, "0.1 %": 0.001, "0.01 %": 0.0001}
MASKS = ("fisher", "fisher-task", "magnitude", "magnitude-smallest", "random")
# Optimizer and the middle of its range of rates, for the sparse view of a thousandth.
OPTIMIZERS = {
    "sgd": ("sgd:rate={rate}", 3e-4),
    "momentum": ("momentum:rate={rate},beta=0.9", 3e-5),
    "adam": ("adam:rate={rate}", 3e-4),
    "adamax": ("adamax:rate={rate}", 3e-4),
    "normalised": ("normalised:rate={rate}", 0.1),
    "polyak": ("polyak:scale={rate},cap=1", 300.0),
    "adalomo": ("adalomo:rate={rate}", 0.03),
    "sign": ("sign:rate={rate}", 3e-4),
}
ESTIMATORS = {  # estimator, direction, optimizer, the middle of its rates
    "spsa, 3 probes": ("spsa:probes=3", "gaussian", "sgd", 6e-4),
    "one-sided, 4 probes": ("spsa-one-sided:probes=4", "gaussian", "sgd", 6e-4),
    "leave-one-out, 4": ("leave-one-out:probes=4", "gaussian", "sgd", 6e-4),
    "leave-one-out, 8": ("leave-one-out:probes=8", "gaussian", "sgd", 1e-3),
    "fzoo, 8": ("fzoo:probes=8", "rademacher", "sgd", 1e-3),
    "hizoo": ("hizoo", "gaussian", "sgd", 3e-4),
    "svrg": ("svrg", "gaussian", "sgd", 3e-4),
    "conservative": ("conservative", "gaussian", "sgd", 6e-4),
    "sign": ("sign", "gaussian", "sgd", 3e-4),
    "spsa, rademacher": ("spsa", "rademacher", "sgd", 3e-4),
    "spsa, sphere": ("spsa", "sphere", "sgd", 3e-4),
}
VIEWS = {  # settings, and the middle of the rates
    "all weights": ({"view": "dense", "mask": "", "model": FLOAT}, 1e-6),
    "linear weights": ({"view": "dense:roles=linear", "mask": "", "model": FLOAT}, 1e-6),
    "one layer": ({"view": "dense:roles=linear", "mask": "", "model": FLOAT, "layers": "15"}, 1e-5),
    "LoRA": ({"view": "lora:rank=8", "mask": ""}, 1e-4),
    "prefix": ({"view": "prefix:rows=5", "mask": ""}, 1e-2),
    "prompt": ({"view": "prompt:rows=5", "mask": ""}, 1e-3),
    "scales": ({"view": "scales", "mask": ""}, 1e-4),
}
STEPS = {  # settings beside those of spsa-sgd, and the middle of the rates
    "plain": ({"row_order": "shuffled"}, 4.5e-4),
    "stratified": ({}, 4e-4),
    "4 rows": ({"batch_size": 4}, 4e-4),
    "4 rows, shuffled": ({"batch_size": 4, "row_order": "shuffled"}, 4e-4),
    "later half": ({"layers": "15-"}, 1e-3),
    "later half, 4 rows": ({"layers": "15-", "batch_size": 4}, 1.2e-3),
    "later half, 8 rows": ({"layers": "15-", "batch_size": 8}, 1e-3),
    "later half, 8 rows, 8 directions": (
        {"layers": "15-", "batch_size": 8, "estimator": "leave-one-out:probes=8"}, 5e-3),
    "earlier half, 4 rows": ({"layers": "0-14", "batch_size": 4}, 4e-4),
}
FORMATS = ("f32", "q4_0", "q4_1", "nf4", "lut4")


def rates_around(middle, count):
    """`count` rates, each sqrt(10) times the one before, rounded to two digits."""
    return [float(f"{middle * 10 ** ((i - count // 2) / 2):.1e}") for i in range(count)]


def methods():
    """Name -> settings with an optimizer whose {rate} is open, and the middle of its rates."""
    base = {"view": "sparse", "mask": "fisher", "density": 0.001, "estimator": "spsa",
            "direction": "gaussian", "optimizer": OPTIMIZERS["sgd"][0], "epsilon": 0.003}  # fmt: skip
    out = {"spsa-sgd": (base, OPTIMIZERS["sgd"][1])}
    for mask in MASKS:
        for label, density in DENSITIES.items():
            if (mask, density) == ("fisher", 0.001):
                continue  # spsa-sgd itself
            # More values take smaller steps; those that matter less take larger ones.
            middle = 3e-4 * math.sqrt(0.001 / density) * (1 if mask.startswith("fisher") else 10)
            out[f"mask {mask} {label}"] = (base | {"mask": mask, "density": density, "epsilon": "auto"}, middle)
    for name, (settings, middle) in VIEWS.items():
        out[f"view {name}"] = (base | settings | {"epsilon": "auto"}, middle)
    for name, (estimator, direction, optimizer, middle) in ESTIMATORS.items():
        out[f"estimator {name}"] = (
            base | {"estimator": estimator, "direction": direction, "optimizer": OPTIMIZERS[optimizer][0]}, middle)
    for name, (optimizer, middle) in OPTIMIZERS.items():
        if name != "sgd":
            out[f"optimizer {name}"] = (base | {"optimizer": optimizer}, middle)
    for name, (settings, middle) in STEPS.items():
        out[f"step {name}"] = (base | {"schedule": "cosine"} | settings, middle)
    return out


def equal_rows(forwards, settings):
    """Forwards of batches with as many rows in all as `forwards` batches of 16 have."""
    return forwards * 16 // settings.get("batch_size", 16)


def line(study, task, name, settings, **more):
    return {"study": study, "task": task, "name": name, "test_rows": TEST_ROWS[task]} | settings | more


def with_rate(settings, rate):
    return settings | {"optimizer": settings["optimizer"].format(rate=f"{rate:g}")}


def results_of(path):
    """The lines that `study` wrote; of no path none."""
    if not path:
        return []
    with open(path) as file:
        return [json.loads(text) for text in file if text.endswith("\n")]


def final_loss(result):
    """The last loss on valid rows; infinite for what diverged or was refused."""
    curve = result.get("curve") or []
    if "refused" in result or "diverged" in result or not curve or curve[-1][3] is None:
        return math.inf
    return curve[-1][3]


class search:
    """Successive halving over the rates of every method, as far as the results go."""

    def __init__(self, results, forwards, count, rungs=3):
        self.forwards, self.count, self.rungs = forwards, count, rungs
        self.loss = {}
        for result in results:
            plan = result["plan"]
            if plan["study"] == "search":
                self.loss[plan["name"], plan["optimizer"], plan["forwards"]] = final_loss(result)

    def of(self, name):
        """(lines so far and next, the best rate or None while the search is not done)."""
        settings, middle = methods()[name]
        rates = alive = rates_around(middle, self.count)
        lines = []
        for rung in range(self.rungs):
            forwards = equal_rows(self.forwards * 2**rung, settings)
            here = [(rate, line("search", "movies", name, with_rate(settings, rate), forwards=forwards, seed=1000,
                                eval_every=10**6, eval_rows=400, test_rows=0)) for rate in alive]  # fmt: skip
            lines += [one for _, one in here]
            known = {rate: self.loss.get((name, one["optimizer"], forwards)) for rate, one in here}
            if None in known.values():
                return lines, None
            alive = sorted(alive, key=lambda rate: (known[rate], rate))[: max(1, len(alive) // 2)]
            if len(alive) == 1:
                break
        if alive[0] in (rates[0], rates[-1]):
            print(f"{name}: the best rate, {alive[0]:g}, is at the end of its range", file=sys.stderr)
        return lines, alive[0]


def studies(wanted, rate_of, forwards, seeds, wide):
    """Lines of the studies. rate_of(method) gives its rate."""
    known = methods()
    out = []

    def add(study, task, name, method, numbers, **more):
        settings = with_rate(known[method][0], rate_of(method))
        steps = {"forwards": equal_rows(forwards, settings)} if "shots" not in more else {}
        out.extend(line(study, task, name, settings, **steps, seed=n, **more) for n in numbers)

    if "a" in wanted:
        for mask in MASKS:
            for label, density in DENSITIES.items():
                method = "spsa-sgd" if (mask, density) == ("fisher", 0.001) else f"mask {mask} {label}"
                for n in seeds if density == 0.001 else wide:
                    more = {"mask_seed": n} if mask == "random" else {}
                    add("masks", "movies", f"{mask} {label}", method, [n], **more)
    if "b" in wanted:
        add("views", "movies", "sparse 0.1 %", "spsa-sgd", seeds)
        for name in VIEWS:
            add("views", "movies", name, f"view {name}", seeds)
        for task in TASKS:
            out.append(line("views", task, "zero-shot", {"mask": "fisher"}))
            for shots in (4, 16):
                out.extend(line("views", task, f"{shots} shots", {"mask": "fisher"}, shots=shots, seed=n) for n in seeds)
    if "c" in wanted:
        add("recipes", "movies", "spsa-sgd", "spsa-sgd", seeds)
        for method in known:
            if method.startswith(("estimator ", "optimizer ")):
                add("recipes", "movies", method, method, wide)
    if "d" in wanted:
        for name in FORMATS:
            add("formats", "movies", name, "spsa-sgd", seeds, model=f"formats/{name}.{suffix(name)}")
        for name in ("q4_0", "nf4", "lut4"):
            file = f"formats/{name}-kept.{suffix(name)}"
            add("formats", "movies", f"{name}, kept", "spsa-sgd", seeds, mask="", model=file,
                start=f"{file}.kept.safetensors")  # fmt: skip
    if "e" in wanted:
        for task in TASKS:
            for mask in ("fisher", "fisher-task", "random"):
                method = "spsa-sgd" if mask == "fisher" else f"mask {mask} 0.1 %"
                for n in seeds:
                    add("transfer", task, mask, method, [n], **({"mask_seed": n} if mask == "random" else {}))
            for mask in MASKS:
                out.append(line("kept", task, f"{mask} of {task}'s gradient", {}, kind="mask", mask=mask,
                                against="fisher-task"))  # fmt: skip
        for mask in MASKS:
            out.append(line("kept", "movies", f"{mask} of general text's gradient", {}, kind="mask", mask=mask,
                            against="fisher", against_seed=1))  # fmt: skip
        for label, density in DENSITIES.items():
            out.append(line("kept", "movies", f"fisher, its own text, {label}", {}, kind="mask", mask="fisher",
                            density=density, against="fisher"))  # fmt: skip
    if "f" in wanted:
        for compute in ("f32", "bf16", "i8"):
            for epsilon in (1e-3, 5e-3, 2e-2, "auto"):
                add("precision", "movies", f"{compute}, epsilon {epsilon}", "spsa-sgd", wide, compute=compute,
                    epsilon=epsilon)  # fmt: skip
                if epsilon != "auto":
                    out.append(line("slopes", "movies", f"{compute} beside f32, epsilon {epsilon}", {}, kind="slopes",
                                    mask="fisher", compute=compute, epsilon=epsilon, steps=32))  # fmt: skip
        out.append(line("slopes", "movies", "4 bits beside their own floats", {}, kind="slopes", mask="fisher",
                        epsilon=5e-3, steps=32, against=FLOAT))  # fmt: skip
    if "g" in wanted:
        for name in STEPS:
            pause = 30 * 16 // known[f"step {name}"][0].get("batch_size", 16)  # points at the same rows
            add("steps", "movies", name, f"step {name}", seeds, eval_every=pause)
    if "h" in wanted:
        for name, method, steps, more in (
            ("plain, 300 steps", "step plain", 300, {"test_rows": 0}),
            ("4 rows, a third", "step later half, 4 rows", 400, {"test_rows": 0}),
            ("8 directions, a third", "step later half, 8 rows, 8 directions", 50, {"test_rows": 0, "eval_every": 2}),
            ("4 rows, twice", "step later half, 4 rows", 2400, {"eval_every": 240}),
            ("8 directions, twice", "step later half, 8 rows, 8 directions", 300, {"eval_every": 30}),
        ):
            settings = with_rate(known[method][0], rate_of(method))
            out.extend(line("headline", "movies", name, settings, **{"steps": steps, "seed": n} | more) for n in seeds)
    return out


def suffix(name):
    return "safetensors" if name in ("nf4", "lut4") else "gguf"


def quick():
    """Small ones of most kinds of lines."""
    base = {"mask": "random", "epsilon": 0.005, "optimizer": "sgd:rate=3e-4", "steps": 5, "eval_every": 5,
            "eval_rows": 16, "test_rows": 16, "batch_size": 4}  # fmt: skip
    lines = [({"name": "spsa"}), ({"name": "fzoo", "estimator": "fzoo", "direction": "rademacher"}),
             ({"name": "auto", "epsilon": "auto", "optimizer": "adam:rate=1e-4"}),
             ({"name": "LoRA", "view": "lora:rank=2", "mask": "", "test_best": True}),
             ({"name": "2 shots", "steps": 0, "shots": 2}),
             ({"name": "forwards", "estimator": "svrg", "steps": 0, "forwards": 20})]  # fmt: skip
    return [line("quick", "movies", one.pop("name"), base | one) for one in lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("quick", "search", "studies"))
    parser.add_argument("--results", default="", help="what `study` has written so far")
    parser.add_argument("--studies", default="abcdefgh")
    parser.add_argument("--methods", default="*", help="a pattern of names, as a shell's")
    parser.add_argument("--forwards", type=int, default=200, help="of every run of a study")
    parser.add_argument("--search-forwards", type=int, default=40, help="of the first rung")
    parser.add_argument("--rates", type=int, default=5, help="in the first rung")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--wide-seeds", type=int, default=1)
    given = parser.parse_args()

    found = search(results_of(given.results), given.search_forwards, given.rates)
    if given.what == "quick":
        lines = quick()
    elif given.what == "search":
        lines, open_ones = [], 0
        for name in methods():
            if fnmatch.fnmatch(name, given.methods):
                more, rate = found.of(name)
                lines += more
                open_ones += rate is None
        print(f"{open_ones} methods without their rate", file=sys.stderr)
    else:

        def rate_of(method):
            rate = found.of(method)[1] if given.results else None
            if rate is None:
                rate = methods()[method][1]
                print(f"{method}: its search is not done; rate {rate:g}", file=sys.stderr)
            return rate

        lines = studies(given.studies, rate_of, given.forwards, range(given.seeds), range(given.wide_seeds))
    for one in lines:
        print(json.dumps(one))


if __name__ == "__main__":
    main()
