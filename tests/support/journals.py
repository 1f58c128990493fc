"""Options of a journal: those of a config that says nothing, but for what a test is about."""

from __future__ import annotations

import msgspec

from proxy.config.settings import Settings
from proxy.journal import JournalOptions


def journal_options(**changes: object) -> JournalOptions:
    """The config's defaults with these changes."""
    given = msgspec.structs.asdict(Settings().journal)
    named = {name: given[name] for name in JournalOptions.__struct_fields__}
    return JournalOptions(**(named | changes))
