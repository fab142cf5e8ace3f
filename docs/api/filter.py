#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What Doxygen reads instead of a header or a page.

    filter.py include/zoq/core/hash.hpp        writes it to standard output, line by line

Headers: their comments in Doxygen's form.

- The comment at a header's top, up to its licence, is the page of the file.
- A comment behind a declaration belongs to it: `index_t rows = 0;  // of the matrix`.
- What a concept asks of all its models is documented once, in CONVENTIONS: `name`, `summary`, `settings` and so on,
  where a type does not say more.

Pages: headings get names, so that links to them lead there.
"""

import os
import re
import sys
from pathlib import Path

CONVENTIONS = {
    # policies: core/settings.hpp
    "name": "What the command line, messages and records call it.",
    "summary": "One line on what it does, for `zoq policies`.",
    "paper": "Where it is from.",
    "cost": "What it costs in forward passes and bytes.",
    "settings": "Calls f(name, member) for each setting: core/settings.hpp.",
    # estimators: estimate/estimator.hpp
    "ask": "Appends the points whose losses are wanted next, or returns false: estimate/estimator.hpp.",
    "tell": "Makes a gradient of the losses: estimate/estimator.hpp.",
    "state": "What it carries from step to step.",
    "epsilon": "Length of a probe.",
    "probes": "Directions of a step.",
    # optimizers: optim/optimizer.hpp
    "state_floats": "Floats of state for each value.",
    "needs_norm": "Whether it asks for the norm of the gradient: optim/optimizer.hpp.",
    "rate": "Step length on the gradient.",
    # formats: quant/scheme.hpp
    "gguf_type": "Number of the type in GGUF files.",
    "gguf_file_type": "Number of the file's type in GGUF files.",
    "block_size": "Values of a block.",
    "decode": "Writes the values of a block: quant/scheme.hpp.",
    "encode": "Makes a row of blocks: quant/scheme.hpp.",
    # layouts of views: view/layout.hpp
    "blocks": "Which values there are, in named blocks.",
    "tensors": "Tensors of the model, tuned or not.",
    "start": "Sets the values that stand for the model as it is.",
    "hand_out": "Says what the values change: view/layout.hpp.",
    "byte_count": "Bytes that it holds beside the values.",
    # objectives: objective/objective.hpp
    "serves": "Which kinds of rows suit it.",
    "pack": "Adds a row's tokens and reads to a batch.",
    "loss": "The loss of a row, made of what was read.",
    "choice": "The continuation that is chosen.",
    "read_weights": "Derivatives of the loss by what was read.",
    "reference": "What is kept of the untuned model.",
    # executors and loops: tensor/executor.hpp
    "space": "Where its memory lies.",
    "operator()": "What is done for one number of the loop.",
}
TRAILING = re.compile(r"^(\s*[^/\s].*?[;,{}(>)])\s*// (.*)$")
DECLARED = re.compile(
    r"^( {2}| {4}(?=ZOQ_HD))((?:\[\[nodiscard\]\] |ZOQ_HD |static |constexpr |inline |const |using |struct )*(?:[\w:<>,* &]+ )?[*&]?)"
    r"\b(%s)(?=\s*[=({;])" % "|".join(map(re.escape, CONVENTIONS)))


def documented(lines):
    """Whether what follows these lines has a comment of its own already."""
    before = next((line.strip() for line in reversed(lines) if not line.strip().startswith("template <")), "")
    return before.startswith("///")


def filtered(path, text):
    """A type named as its file is what the comment at the top speaks of."""
    out, top = [], True
    subject = re.compile(r"^(?:struct|class) %s\b(?!;)" % re.escape(path.stem))
    for line in text.splitlines():
        if top and line.startswith("//"):
            if "SPDX-License-Identifier" in line:
                top = False
                out.append("")
            else:
                out.append(("/// \\file\n///" if not out else "///") + line[2:].replace("\\", "\\\\"))
            continue
        top = False
        behind, known = TRAILING.match(line), DECLARED.match(line)
        if behind and not behind[2].startswith("NOLINT"):
            line = f"{behind[1]}  ///< {behind[2]}"
        elif known and not re.search(r"\b(return|require|if|else)\b", known[2]) and not documented(out):
            line = f"{known[1]}/** {CONVENTIONS[known[3]]} */ {line[len(known[1]):]}"
        elif subject.match(line) and not documented(out):
            line = f"/** What {path.name} is about. */ {line}"
        out.append(line)
    return out


def slug_of(heading):
    """The name of a heading within its page, as hosts of Markdown make it."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower().replace("`", "")
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def page_name(path):
    """Of docs/policies/estimator/sign.md: policies-estimator-sign."""
    parts = Path(os.path.relpath(path)).with_suffix("").parts
    return "-".join(part.lower() for part in parts if part != "docs")


def page(path, text):
    """Headings as `## Rows {#commands-rows}`, and links to pages and headings by these names."""

    def link(found):
        target = path.parent / found[1] if found[1] else path
        name = page_name(target)
        return found[0] if name == "readme" else f"](#{name}-{found[2]})" if found[2] else f"](#{name})"

    out, fenced, seen = [], False, {}
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith("```")
        heading = None if fenced else re.match(r"^(#{1,6}) (.+?)\s*$", line)
        if heading:
            slug = slug_of(heading[2])
            count = seen[slug] = seen.get(slug, -1) + 1
            of_page = page_name(path) if heading[1] != "#" else None
            line += " {#%s}" % (f"{of_page}-{slug}" + (f"-{count}" if count else "") if of_page else page_name(path))
        elif not fenced:
            line = re.sub(r"\]\(([\w./-]+\.md)?(?:#([\w-]+))?\)", link, line)
            line = re.sub(r"\\(?=[a-z])", r"\\\\", line)
        out.append(line)
    return out


def main():
    path = Path(sys.argv[1])
    text = path.read_text()
    print("\n".join(page(path, text) if path.suffix == ".md" else filtered(path, text)))


if __name__ == "__main__":
    main()
