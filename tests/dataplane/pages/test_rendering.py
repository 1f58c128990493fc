"""Every value in every template is escaped, whatever the names of things are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.admin.pages import admin_pages
from proxy.core.errors import invalid_request
from proxy.dataplane.pages.rendering import FILES, Rendering
from proxy.dataplane.pages.team_pages import TEMPLATES

HOSTILE = "<script>alert(1)</script>\"'>&\x1b[31m\u202e{{7*7}}"
MADE = Rendering(FILES, TEMPLATES)
EVERY = [
    *FILES.glob("*.html"),
    *(Path(admin_pages.__file__).parent / "files").glob("*.html"),
]


def test_names_cannot_become_markup_or_hide() -> None:
    page = MADE.page("error", error=invalid_request(HOSTILE), support=HOSTILE).decode()
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2
    assert "\\x1b[31m\\u202e{{7*7}}" in page


def test_a_text_of_several_lines_keeps_their_ends_alone(tmp_path: Path) -> None:
    (tmp_path / "one.html").write_text("{{ text|lines }}")
    page = Rendering(tmp_path, ["one"]).page("one", text=f"a\n{HOSTILE}\r\n").decode()
    assert page.split("\n")[0] == "a" and page.endswith("{{7*7}}\\r\n")
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page


@pytest.mark.parametrize("path", sorted(EVERY), ids=lambda path: path.name)
def test_no_template_goes_round_the_escaping_or_breaks_the_policy(path) -> None:  # type: ignore[no-untyped-def]
    text = path.read_text()
    assert not re.search(r"\|\s*safe|autoescape|Markup", text)
    assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=|javascript:|https?://|<img", text)
    # An attribute without quotes could begin another one.
    assert not re.search(r"\s[a-z-]+=\s*{{", text)


def test_the_stylesheet_loads_nothing() -> None:
    assert b"url(" not in MADE.style and b"@import" not in MADE.style
    assert re.fullmatch(r"/ui/style-[0-9a-f]{12}\.css", MADE.style_path)
