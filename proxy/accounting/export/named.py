"""The format of a name. That of an optional library is loaded when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from datetime import tzinfo
from typing import Final

from proxy.accounting.export.records import FORMATS, Lines

PARQUET: Final = "parquet"


class FormatMissing(Exception):
    """The library that a format needs is not installed; the message says what to install."""


def format_named(name: str, zone: tzinfo, labels: Sequence[str]) -> Lines:
    """One of FORMATS or PARQUET. `labels` get a column in csv. Raises FormatMissing."""
    if name != PARQUET:
        return FORMATS[name](zone, labels)
    try:
        made: Lines = importlib.import_module("proxy.accounting.export.parquet").Parquet()
    except ModuleNotFoundError as error:
        raise FormatMissing(
            f"the format parquet needs {error.name}: pip install 'tollkeeper[parquet]'"
        ) from error
    return made
