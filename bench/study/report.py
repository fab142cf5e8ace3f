#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the program `study` measured, as tables in Markdown on standard output, and pictures.

    report.py results.jsonl [--pictures docs/results] [--studies masks,views] [--baseline spsa-sgd]

Every table gives mean ± standard deviation over seeds and their number n. Of each seed the loss and accuracy
on the valid rows at the end of the run, and on the test rows. Runs that were refused or diverged are named.

Forwards to a loss: for each seed the loss that the baseline of the same study, task and seed has at its end, and
the forwards, and the tokens in them, at the first measured point of a run at or below it, over the baseline's own
at its end: tokens count where batches have different sizes. The interval is one of 95 % for the mean of the logarithms, by Student's t over the seeds (n - 1 degrees); a run
that never reaches the loss is counted as such, and a baseline that did not learn is no measure. Runs are
measured every few steps, so that a ratio errs upwards by up to one pause between points. Seconds are those of
steps, without measurements.

Pictures: loss against tokens forwarded, and against seconds, one for each study and task: means over seeds, from least
to largest as a band. They are plain SVG.
"""
import argparse
import json
import math
import pathlib
import statistics
import xml.sax.saxutils

# Two-sided 95 % points of Student's t by degrees of freedom; any table of it has them.
T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
FORWARDS, TOKENS, SECONDS, LOSS, ACCURACY = range(5)  # of a point of a curve
COLOURS = ("#1f4e9c", "#c0392b", "#2e8b57", "#8e44ad", "#d68910", "#16a085", "#7f8c8d", "#5d4037", "#e84393", "#000000")


def read(path):
    """The last result of every key, in the order of the file."""
    by_key = {}
    with open(path) as file:
        for text in file:
            if text.endswith("\n"):
                one = json.loads(text)
                by_key[one["key"]] = one
    return list(by_key.values())


def grouped(results, *keys):
    """Tuples of the plan's values -> results, in the order in which they first come."""
    out = {}
    for one in results:
        out.setdefault(tuple(one["plan"][key] for key in keys), []).append(one)
    return out


def spread(values, digits):
    values = [v for v in values if v is not None]
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def table(heads, rows):
    print("| " + " | ".join(heads) + " |")
    print("|" + "|".join("---" for _ in heads) + "|")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()


def finished(results):
    return [one for one in results if "refused" not in one and "diverged" not in one]


def last(one, what):
    return one["curve"][-1][what] if one.get("curve") else None


def tested(one, which):
    return one["test"][which] if one.get("test") else None


def rate_text(runs):
    rates = {one["plan"]["optimizer"] for one in runs}
    return rates.pop() if len(rates) == 1 else "several"


def figures(study, results):
    print(f"## {study}\n")
    for (task,), of_task in grouped(results, "task").items():
        print(f"### {task}\n")
        rows = []
        for (name,), runs in grouped(of_task, "name").items():
            done = finished(runs)
            note = "".join(f"; seed {one['plan']['seed']} diverged after {one['diverged']} steps"
                           for one in runs if "diverged" in one)  # fmt: skip
            note += "".join(f"; refused: {one['refused']}" for one in runs if "refused" in one)
            spent = [1000 * one["seconds"] / one["forwards"] for one in done if one.get("forwards")]
            rows.append((name, spread([last(one, LOSS) for one in done], 4),
                         spread([last(one, ACCURACY) for one in done], 3),
                         spread([tested(one, 0) for one in done], 4), spread([tested(one, 1) for one in done], 3),
                         f"{done[0]['k']:,}" if done else "",
                         spread([one.get("forwards") for one in done], 0), spread(spent, 0),
                         rate_text(runs) if done and done[0].get("forwards") else "", len(done), note[2:]))  # fmt: skip
        table(("", "valid loss", "valid accuracy", "test loss", "test accuracy", "k", "forwards", "ms a forward",
               "optimizer", "n", ""), rows)  # fmt: skip


def first_at(one, loss, what):
    """What a run had spent when it was first measured at or below a loss; none if never."""
    return next((point[what] for point in one.get("curve", []) if point[LOSS] <= loss), None)


def interval(ratios):
    """The mean of the logarithms with its interval of 95 %, as ratios."""
    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return f"{math.exp(mean):.2f}"
    half = T95.get(len(logs) - 1, 1.96 if len(logs) > 30 else 2.262) * statistics.stdev(logs) / math.sqrt(len(logs))
    return f"{math.exp(mean):.2f} ({math.exp(mean - half):.2f} to {math.exp(mean + half):.2f})"


def to_a_loss(results, baseline):
    for (task,), of_task in grouped(results, "task").items():
        base = {one["plan"]["seed"]: one for one in finished(of_task)
                if one["plan"]["name"] == baseline and one.get("curve")
                and last(one, LOSS) < one["curve"][0][LOSS]}  # fmt: skip
        if not base:
            continue
        rows = []
        for (name,), runs in grouped(finished(of_task), "name").items():
            pairs = [(one, base[one["plan"]["seed"]]) for one in runs
                     if one.get("curve") and one["plan"]["seed"] in base]  # fmt: skip
            if not pairs:
                continue
            row = [name]
            for what in (FORWARDS, TOKENS, SECONDS):
                spent = [(first_at(one, last(other, LOSS), what), last(other, what)) for one, other in pairs]
                reached = [used / most for used, most in spent if used]
                row.append(interval(reached) if len(reached) == len(pairs)
                           else f"not reached by {len(pairs) - len(reached)}")  # fmt: skip
            rows.append((*row, len(pairs)))
        target = spread([last(one, LOSS) for one in base.values()], 4)
        print(f"To the loss that {baseline} has at its end on {task} ({target}), of what that took:\n")
        table(("", "forwards", "forward tokens", "seconds", "n"), rows)


def kept(results):
    print("## What masks keep of a squared gradient\n")
    rows = []
    for one in results:
        plan = one["plan"]
        if "refused" in one:
            rows.append((plan["name"], plan["task"], "", "", "", "refused: " + one["refused"]))
            continue
        parts = [tensor[1] for tensor in one["tensors"]]
        rows.append((plan["name"], plan["task"], f"{100 * plan['density']:g} %", f"{one['share_kept']:.3f}",
                     f"{one['share_own']:.3f}", f"{one['jaccard']:.3f}",
                     f"{min(parts):.3f} / {statistics.median(parts):.3f} / {max(parts):.3f}"))  # fmt: skip
    table(("", "task", "density", "kept", "its own mask keeps", "Jaccard", "least / median / most of a matrix"), rows)


def slopes(results):
    print("## Errors of slopes\n")
    rows = [(one["plan"]["name"], one["plan"]["task"], one["plan"]["steps"], "", "", "refused: " + one["refused"])
            if "refused" in one else
            (one["plan"]["name"], one["plan"]["task"], one["plan"]["steps"], f"{one['rms_error']:.3g}",
             f"{one['rms_slope']:.3g}", f"{one['rms_error'] / one['rms_slope']:.2g}") for one in results]  # fmt: skip
    table(("", "task", "directions", "rms of the error", "rms of the slope", "ratio"), rows)


def nice_steps(low, high, count=5):
    """Round numbers between two, about `count` of them."""
    raw = (high - low) / count or 1
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    first = math.ceil(low / step)
    return [(first + i) * step for i in range(int((high - first * step) / step) + 1)]


def curve_of(runs, what):
    """(x, least, mean, largest) at the points that all seeds have; x is the mean over seeds."""
    points = [one["curve"] for one in runs]
    shared = min(map(len, points))
    out = []
    for i in range(shared):
        losses = [curve[i][LOSS] for curve in points]
        out.append((statistics.fmean(curve[i][what] for curve in points), min(losses), statistics.fmean(losses), max(losses)))
    return out


def picture(title, label, curves):
    """An SVG of loss over `label`. curves: name -> points of curve_of."""
    wide, high, left, top, right, bottom = 860, 430, 62, 34, 250, 46
    all_points = [point for points in curves.values() for point in points]
    x_most = max(point[0] for point in all_points) or 1
    y_least, y_most = min(point[1] for point in all_points), max(point[3] for point in all_points)
    margin = (y_most - y_least) * 0.05 or 0.1
    y_least, y_most = y_least - margin, y_most + margin

    def x(value):
        return left + (wide - left - right) * value / x_most

    def y(value):
        return top + (high - top - bottom) * (y_most - value) / (y_most - y_least)

    quoted = xml.sax.saxutils.escape
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-family="sans-serif" font-size="12">',
           f'<rect width="{wide}" height="{high}" fill="white"/>',
           f'<text x="{left}" y="20" font-size="14">{quoted(title)}</text>']  # fmt: skip
    for value in nice_steps(0, x_most):
        out.append(f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{top}" y2="{high - bottom}" stroke="#e6e6e6"/>')
        out.append(f'<text x="{x(value):.1f}" y="{high - bottom + 16}" text-anchor="middle">{value:g}</text>')
    for value in nice_steps(y_least, y_most):
        out.append(f'<line x1="{left}" x2="{wide - right}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#e6e6e6"/>')
        out.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    out.append(f'<text x="{(left + wide - right) / 2}" y="{high - 8}" text-anchor="middle">{quoted(label)}</text>')
    out.append(f'<text x="14" y="{(top + high - bottom) / 2}" text-anchor="middle" '
               f'transform="rotate(-90 14 {(top + high - bottom) / 2})">loss on valid rows</text>')  # fmt: skip
    for i, (name, points) in enumerate(curves.items()):
        colour = COLOURS[i % len(COLOURS)]
        dash = ("", ' stroke-dasharray="6 3"', ' stroke-dasharray="2 2"')[i // len(COLOURS) % 3]
        band = [(x(p[0]), y(p[1])) for p in points] + [(x(p[0]), y(p[3])) for p in reversed(points)]
        corners = " ".join(f"{a:.1f},{b:.1f}" for a, b in band)
        path = " ".join(f"{x(p[0]):.1f},{y(p[2]):.1f}" for p in points)
        out.append(f'<polygon points="{corners}" fill="{colour}" opacity="0.12"/>')
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>')
        key = top + 8 + 15 * i
        out.append(f'<line x1="{wide - right + 12}" x2="{wide - right + 34}" y1="{key}" y2="{key}" '
                   f'stroke="{colour}" stroke-width="2"{dash}/>')  # fmt: skip
        out.append(f'<text x="{wide - right + 40}" y="{key + 4}" font-size="11">{quoted(name)}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def pictures(results, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for (study, task), runs in grouped(finished(results), "study", "task").items():
        curves = {name: of_name for (name,), of_name in grouped(runs, "name").items()
                  if all(len(one.get("curve", [])) > 1 for one in of_name)}  # fmt: skip
        if not curves:
            continue
        for what, label in ((TOKENS, "tokens forwarded"), (SECONDS, "seconds of steps")):
            drawn = {name: curve_of(of_name, what) for name, of_name in curves.items()}
            path = folder / f"{study}-{task}-{label.split()[0]}.svg"
            path.write_text(picture(f"{study}, {task}", label, drawn))
            print(f"![{study}, {task}: loss against {label}]({folder.name}/{path.name})\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results")
    parser.add_argument("--pictures", type=pathlib.Path, help="a folder for pictures; none: no pictures")
    parser.add_argument("--studies", default="", help="names by commas; none: all but the search")
    parser.add_argument("--baseline", default="spsa-sgd", help="the name of the runs that others are held against")
    given = parser.parse_args()
    wanted = set(filter(None, given.studies.split(",")))
    results = [one for one in read(given.results)
               if (one["plan"]["study"] in wanted if wanted else one["plan"]["study"] != "search")]  # fmt: skip
    for (study,), runs in grouped([one for one in results if one["plan"]["kind"] == "tune"], "study").items():
        figures(study, runs)
        to_a_loss(runs, given.baseline)
        if given.pictures:
            pictures(runs, given.pictures)
    masks = [one for one in results if one["plan"]["kind"] == "mask"]
    if masks:
        kept(masks)
    beside = [one for one in results if one["plan"]["kind"] == "slopes"]
    if beside:
        slopes(beside)


if __name__ == "__main__":
    main()
