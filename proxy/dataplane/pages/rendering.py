"""Templates to bytes. All that they show is escaped, and what hides in a name is written out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import jinja2
import markupsafe

from proxy.core.http.visible import visible
from proxy.core.money import decimal

FILES: Final = Path(__file__).parent / "files"
UNKNOWN: Final = "not known"


class Rendering:
    """The templates of these names, compiled once. `style_path` is where the stylesheet is served.

    Its name changes with its content, so that a browser may keep it. A template in `directory` may
    build on the shared ones in FILES.
    """

    def __init__(self, directory: Path, names: Iterable[str]) -> None:
        # For every template whatever its name: `select_autoescape` goes by the ending.
        self._made = jinja2.Environment(
            loader=jinja2.FileSystemLoader([directory, FILES]),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_shown,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._made.filters.update({"money": _money, "count": _count, "lines": _lines})
        self._templates = {name: self._made.get_template(f"{name}.html") for name in names}
        self.style = (FILES / "style.css").read_bytes()
        self.style_path = f"/ui/style-{hashlib.sha256(self.style).hexdigest()[:12]}.css"

    def page(self, name: str, **shown: object) -> bytes:
        """The page of this template, in UTF-8."""
        return self._templates[name].render(style_path=self.style_path, **shown).encode()


def _shown(value: object) -> object:
    """What stands in the page for a value; it is escaped behind this, unless it is markup."""
    if value is None:
        return UNKNOWN
    if isinstance(value, str) and not isinstance(value, markupsafe.Markup):
        return visible(value)
    return value


def _money(nano: int | None) -> str:
    return UNKNOWN if nano is None else decimal(nano, grouped=True)


def _count(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number:,}"


def _lines(text: str) -> markupsafe.Markup:
    """A text of several lines. Their ends stay, and all else is as in any other text."""
    return markupsafe.Markup("\n").join(visible(line) for line in text.split("\n"))
