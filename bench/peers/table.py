# SPDX-License-Identifier: Apache-2.0
"""From measurements to one table of ratios, as data and in Markdown.

A ratio says how many times as fast as the peer, or how many times as small, zoq is: the median of the
ratios of single rounds. Figures are medians.
"""

import statistics


def better_mode(measurements):
    """Of an engine that may take rows one by one or several in a batch, the faster way."""
    best = {}
    for m in measurements:
        key = (m.what, m.who)
        if key not in best or statistics.median(m.seconds) < statistics.median(best[key].seconds):
            best[key] = m
    return list(best.values())


def policy_of(who):
    """The compute policy of zoq's engines, None for the others."""
    return who.split()[1] if who.startswith("zoq ") else None


def rows_of(measurements, tokens, shipped):
    """Rows: what, unit, peer, value, and for every compute policy of zoq its value and the ratio."""
    out = []
    tasks = {}
    for m in better_mode(measurements):
        tasks.setdefault(m.what, []).append(m)
    for what, found in tasks.items():
        own = {policy_of(m.who): m for m in found if policy_of(m.who)}
        others = [m for m in found if not policy_of(m.who)]
        prompt = what.startswith("prompt")
        fastest = min(others, key=lambda m: statistics.median(m.seconds))
        work = tokens_of(found[0], tokens) if prompt else None

        def figure(m):
            seconds = statistics.median(m.seconds)
            return work / seconds if prompt else seconds

        unit = "tokens/s" if prompt else "s"
        values = {c: {"value": figure(m)} for c, m in own.items()}
        out.append({"what": what, "unit": unit, "peer": "zoq itself", "value": None, "zoq": values})
        for m in others:
            ratios = {c: [a / b for a, b in zip(m.seconds, z.seconds)] for c, z in own.items()}
            zoq = {
                c: {"value": figure(own[c]), "ratio": statistics.median(r), "rounds": r}
                for c, r in ratios.items()
            }
            peer = m.who + note_of(m, shipped, prompt and m is fastest and len(others) > 1)
            out.append({"what": what, "unit": unit, "peer": peer, "value": figure(m), "zoq": zoq})
    return out + memory(measurements)


def tokens_of(m, tokens):
    length = int(m.command["set"])
    return max(1, tokens // length) * length


def note_of(m, shipped, fastest):
    notes = ["the file"] * (m.who.split()[1] == shipped)
    notes += ["several rows a batch"] * (m.note == "joint") + ["its fastest"] * fastest
    return f" ({', '.join(notes)})" if notes else ""


def memory(measurements):
    """Peaks of processes: of prompts taken one by one, and of steps."""
    out = []
    peaks = {}
    for m in measurements:
        if m.note != "joint" and "AVX2" not in m.what:
            task = "prompt" if m.what.startswith("prompt") else m.what
            found = peaks.setdefault(task, {})
            found[m.who] = max(found.get(m.who, 0), m.peak_bytes)
    for task, found in peaks.items():
        own = {policy_of(who): peak for who, peak in found.items() if policy_of(who)}
        what = f"peak memory, {task}"
        values = {c: {"value": peak / 1e6} for c, peak in own.items()}
        out.append({"what": what, "unit": "MB", "peer": "zoq itself", "value": None, "zoq": values})
        for who, peak in found.items():
            if not policy_of(who):
                zoq = {c: {"value": p / 1e6, "ratio": peak / p} for c, p in own.items()}
                value = peak / 1e6
                out.append({"what": what, "unit": "MB", "peer": who, "value": value, "zoq": zoq})
    return out


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def markdown(machine, rows, agreement, computes):
    versions = ", ".join(
        f"{name} {machine[name]}" for name in ("llama-cpp-python", "torch", "transformers")
    )
    lines = [
        f"{machine['cpu']}, {machine['threads']} threads; {versions}; medians of "
        f"{machine['rounds']} rounds. 2 x: zoq is twice as fast, or half as large.",
        "",
        "| task | engine | figure | " + " | ".join(f"zoq {c}" for c in computes) + " |",
        "|---|---|---" + "|---" * len(computes) + "|",
    ]
    for row in rows:
        cells = []
        for compute in computes:
            cell = row["zoq"].get(compute, {})
            if row["value"] is None:
                cells.append(f"{number(cell['value'])} {row['unit']}" if cell else "")
            else:
                cells.append(f"{cell['ratio']:.2f} x" if cell else "")
        figure = "" if row["value"] is None else f"{number(row['value'])} {row['unit']}"
        lines.append(f"| {row['what']} | {row['peer']} | {figure} | {' | '.join(cells)} |")
    apart = "; ".join(
        f"{a['who']} {a['of']} {a['largest']:.1g} (at most {a['bound']:g})" for a in agreement
    )
    return "\n".join(lines + ["", f"Largest distance from zoq f32 over all rows: {apart}."])
