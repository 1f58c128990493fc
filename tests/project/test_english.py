"""The words of the code, as far as a machine can judge them: plain first sentences, no riddles."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
COLUMNS_MAX = 100
BANNED = re.compile(
    r"\b(lets? go|letting go|whoever|what is left|the one that|nobody has)\b", re.IGNORECASE
)


def held() -> Iterator[tuple[str, str]]:
    """The path and the text of each file of proxy/."""
    for path in sorted((ROOT / "proxy").rglob("*.py")):
        yield path.relative_to(ROOT / "proxy").as_posix(), path.read_text()


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The docstrings of the module and of what is public in it, each with its line."""
    todo: list[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef] = [tree]
    while todo:
        node = todo.pop()
        if (text := ast.get_docstring(node)) is not None:
            yield getattr(node, "lineno", 1), text
        if isinstance(node, ast.Module | ast.ClassDef):
            todo += [
                inner
                for inner in node.body
                if isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and not re.match(r"_(?!_)", inner.name)
            ]


def test_the_first_sentence_of_a_docstring_is_short_and_stands_on_its_first_line():
    wrong = [
        f"{name}:{line}"
        for name, text in held()
        for line, docstring in docstrings(ast.parse(text))
        if not re.match(rf".{{,{COLUMNS_MAX - 1}}}([.!?](\s|$)|:\n)", docstring)
    ]
    assert not wrong, f"{wrong}: say the main thing in one sentence; the rest follows it"


def test_no_sentence_is_a_riddle():
    wrong = []
    for name, text in held():
        flowing = re.sub(r"\s*\n\s*(# )?", " ", text)
        wrong += [f"{name}: {found[0]}" for found in BANNED.finditer(flowing)]
    assert not wrong, f"{wrong}: name the thing; who does what to what?"


def test_what_the_formatter_leaves_alone_says_why():
    wrong = []
    for name, text in held():
        lines = ["", *text.splitlines()]
        for at, (above, line) in enumerate(itertools.pairwise(lines), 1):
            before, found, after = line.partition("# fmt: ")
            beside = "# " in before or "# " in after or above.lstrip().startswith("# ")
            if found and not after.startswith("on") and not beside:
                wrong.append(f"{name}:{at}")
    assert not wrong, f"{wrong}: put the reason beside it, or let the formatter do it"
