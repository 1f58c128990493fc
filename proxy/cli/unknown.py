"""Names that no record has: a mistyped team looks like one that used nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from zoneinfo import ZoneInfo

from proxy.cli import common
from proxy.config.fields import NAMES_ALIKE
from proxy.core.spelling import nearest
from proxy.ledger.reading import BookReader


def unknown_names(reader: BookReader, zone: ZoneInfo, asked: Mapping[str, str | None]) -> list[str]:
    """A sentence for each asked name of a team, key or upstream that no record has at all."""
    said = []
    for kind, name in asked.items():
        if name is None:
            continue
        groups = common.ask(partial(reader.usage, [kind], None, None, zone))
        known = {str(row[kind]) for row in groups if row[kind] is not None}
        if name not in known:
            close = nearest(name, known, NAMES_ALIKE)
            hint = "" if close is None else f" The nearest is {close!r}."
            article = "an" if kind == "upstream" else "a"
            said.append(f"no record at all is of {article} {kind} {name!r}.{hint}")
    return said
