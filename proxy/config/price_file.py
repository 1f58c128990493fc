"""Price rows of a file that is no part of the config: `prices` of a config, or one to include."""

from __future__ import annotations

from pathlib import Path

import msgspec

from proxy.config.fields import Block
from proxy.config.nodes import Node, Problem, parse
from proxy.config.price_terms import row_of
from proxy.config.prices import check
from proxy.config.reader import SettingsReader
from proxy.config.settings import Price, Settings
from proxy.core.pricing.pricelist import PriceRow

FILE_BYTES_MAX = 16 * 2**20


class PriceFileError(Exception):
    """A file without price rows that can be read; `messages` say where and what to do."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


class _PriceRows(Block, frozen=True, kw_only=True):
    """What is read of the file."""

    prices: tuple[Price, ...] = ()


def rows_of_file(path: Path, settings: Settings) -> tuple[PriceRow, ...]:
    """The rows of `prices` in a YAML file; what else the file says is passed over.

    Currencies, zones and rates of exchange are those of `settings`. A file that names another
    currency is refused if a row goes by it. Raises PriceFileError.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise PriceFileError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise PriceFileError([f"{path}: not text in UTF-8; save it as UTF-8"]) from error
    if len(data) > FILE_BYTES_MAX:
        raise PriceFileError([f"{path}: larger than {FILE_BYTES_MAX} bytes; this is no price list"])
    root, problems = parse(text, str(path))
    if root is None or problems:
        raise PriceFileError([str(problem) for problem in problems])
    prices = root.value.get("prices") if isinstance(root.value, dict) else None
    if prices is None:
        raise PriceFileError(
            [
                f"{path}: no `prices`; write "
                'prices: [{model: "gpt-4o", input: "2.5", output: "10"}]'
            ]
        )
    reader = SettingsReader(path.parent)
    read = reader.read(_PriceRows, Node({"prices": prices}, root.where))
    found: list[Problem] = list(reader.problems)
    if not found:
        check(
            msgspec.structs.replace(settings, prices=read.prices),
            reader.where,
            lambda place, said: found.append(
                Problem(reader.where.get(place, str(path)), place, said)
            ),
        )
    of_file = root.value.get("currency") if isinstance(root.value, dict) else None
    if (
        of_file is not None
        and of_file.value != settings.currency
        and any(price.currency is None for price in read.prices)
    ):
        found.append(
            Problem(
                str(of_file.where),
                "currency",
                f"is {of_file.value}, and the ledger is kept in {settings.currency}; "
                "say the currency of each row, such as {currency: EUR}",
            )
        )
    if found:
        raise PriceFileError([str(problem) for problem in found])
    return tuple(row_of(price, settings) for price in read.prices)
