"""The documents, the docstrings and the Makefile name only files and modules that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FILE = re.compile(r"(?<![\w/.-])(?:proxy|tests|tools|docs|dashboards)(?:/[\w.-]+)+")
ANCHORED = re.compile(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
MODULE = re.compile(r"python3? -m ((?:proxy|tests|tools)(?:\.\w+)*)")
WRITERS = ("*.md", "docs/**/*.md", "proxy/**/*.md", "Makefile", "proxy/**/*.py", "tools/**/*.py")


def named(text: str, beside: Path) -> Iterator[tuple[str, bool]]:
    """Each file, link and module in a text, and whether it is there."""
    for match in FILE.finditer(text):
        name = match[0].rstrip(".")
        yield name, "/node_modules" in name or (ROOT / name).exists()
    for match in MODULE.finditer(text):
        place = ROOT / match[1].replace(".", "/")
        yield match[1], place.with_suffix(".py").exists() or (place / "__main__.py").exists()
    if beside.suffix == ".md":
        yield from (
            (match[1], (beside.parent / match[1]).exists()) for match in LINK.finditer(text)
        )


def test_what_is_named_is_there() -> None:
    writers = [path for pattern in WRITERS for path in ROOT.glob(pattern)]
    found = [
        (path, name, there) for path in writers for name, there in named(path.read_text(), path)
    ]
    gone = [f"{path.relative_to(ROOT)}: {name}" for path, name, there in found if not there]
    assert len(found) > 100
    assert not gone, "these have moved or gone; write where they are now"


def anchors(page: Path) -> set[str]:
    """The anchor of each heading of a page, as GitHub makes it."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in HEADING.findall(page.read_text())
    }


def test_what_a_link_points_at_is_there() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    links = [
        (page, (page.parent / name) if name else page, anchor)
        for page in pages
        for name, anchor in ANCHORED.findall(page.read_text())
    ]
    gone = [f"{page.name}: #{anchor}" for page, to, anchor in links if anchor not in anchors(to)]
    assert links and not gone, f"{gone}: no such heading"
