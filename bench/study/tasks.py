#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the tasks of the study from the data of the quick start.

usage: tasks.py CACHE OUT

OUT gets what scripts/fetch.py makes (model.gguf, general.txt, movies/) and, in the same form:

    products/*.jsonl     product reviews: the prompt "TEXT It is", the choices " bad", " good"
    tweets/*.jsonl       tweets: the prompt "TEXT I feel", the choices " bad", " good"
    source/*.jsonl       which kind of text is it? "Text: TEXT\\nKind:", " movie", " product", " tweet", " news"

Labels of products and tweets are the signs of ratings of at least 1 in size, as those of movies. The split
is fixed: rows in the order of the SHA-256 of "TASK ID", the first 600 are test, the next 400 valid, the rest
train: 1,447 rows of products, 1,667 of tweets; of a text that comes twice the first is taken. `source` has as many rows of each kind: 150 test, 100 valid,
550 train, in the order of the SHA-256 of "source KIND ID"; its news are of general.txt.
"""

import hashlib
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import fetch  # noqa: E402

PARTS = ("test", "valid", "train")
SENTIMENTS = {  # task: texts, what follows a text, choices for a negative and a positive rating
    "products": ("amazonReviewSnippets", " It is", [" bad", " good"]),
    "tweets": ("tweets", " I feel", [" bad", " good"]),
}
KINDS = {  # texts: their choice in the task `source`
    "movieReviewSnippets": " movie",
    "amazonReviewSnippets": " product",
    "tweets": " tweet",
    "nytEditorialSnippets": " news",
}
SOURCE_ROWS = (150, 100, 550)  # of each kind, in the order of PARTS


def place(*words):
    """Where a row stands: fixed, and a matter of its name alone."""
    return hashlib.sha256(" ".join(words).encode()).digest()


def in_order(rows, *words):
    """The rows by their places; of the same text the first, so that none is in two parts."""
    seen = set()
    ordered = sorted(rows, key=lambda row: place(*words, row[0]))
    return [row for row in ordered if not (row[2] in seen or seen.add(row[2]))]


def sentiment(task, texts):
    kind, ending, choices = SENTIMENTS[task]
    rows = in_order((row for row in texts[kind] if abs(row[1]) >= 1), task)
    lines = [{"prompt": text + ending, "choices": choices, "answer": int(rating > 0)}
             for _, rating, text in rows]  # fmt: skip
    return {"test": lines[:600], "valid": lines[600:1000], "train": lines[1000:]}


def source(texts):
    parts = {part: [] for part in PARTS}
    choices = list(KINDS.values())
    for kind, choice in KINDS.items():
        rows = [(place("source", kind, name), text)
                for name, _, text in in_order(texts[kind], "source", kind)]
        first = 0
        for part, count in zip(PARTS, SOURCE_ROWS):
            parts[part] += [(at, {"prompt": f"Text: {text}\nKind:", "choices": choices,
                                  "answer": choices.index(choice)})
                            for at, text in rows[first:first + count]]  # fmt: skip
            first += count
    return {part: [line for _, line in sorted(rows, key=lambda row: row[0])] for part, rows in parts.items()}


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: tasks.py CACHE OUT")
    cache, out = map(pathlib.Path, sys.argv[1:])
    fetch.make_model(cache, out / "model.gguf")
    fetch.make_rows(cache, out)
    texts = fetch.ratings(cache)
    tasks = {task: sentiment(task, texts) for task in SENTIMENTS}
    tasks["source"] = source(texts)
    for task, parts in tasks.items():
        for part, rows in parts.items():
            data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            fetch.write(out / task / f"{part}.jsonl", data.encode())


if __name__ == "__main__":
    main()
