"""A vendor's bill: its file recognised, and read as lines."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import yaml

from proxy.accounting.reconciling.json_rows import BillPages
from proxy.accounting.reconciling.tables import FILES_MAX, Sheet, packed, sheet
from proxy.core.reconciling.decimal_marks import DecimalMark
from proxy.core.reconciling.line_reader import LeftOut, LineReader, UnreadableBill
from proxy.core.reconciling.lines import VendorLine
from proxy.core.reconciling.shapes import (
    FIELDS,
    Chosen,
    FileShape,
    chosen,
    fitted,
    names_codes,
    needs,
    of_vendor,
)

_COLUMNS_TOLD: Final = 40
_ROWS_LOOKED_AT: Final = 200  # to learn how numbers are written
_NAME_TOLD: Final = 40  # characters
_OTHER_SHAPE: Final = "files that say the same in less detail, or are no bill"


class BillMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a `--mapping` file says: the columns of fields, and what the file does not state.

    A column of "" leaves the field out. `divisor`: amounts are so many parts of a unit, 100 for
    cents. `zone` and `currency` are those of the file. `decimal`: the mark before a fraction.
    `day_first`: dates such as 11/01/2026 begin with the day.
    """

    columns: dict[str, str] = {}
    zone: str | None = None
    currency: str | None = None
    divisor: int = 1
    decimal: Literal[".", ","] | None = None
    day_first: bool | None = None


class Bill:
    """A bill's lines. What was left out, and what was found, is there when they are read.

    It may be in several files, as the pages of an API in their order.
    `zone` and `currency` hold where the file does not state them; None: those of its shape.
    """

    def __init__(
        self,
        paths: Path | Sequence[Path],
        vendor: str,
        mapping: BillMapping | None = None,
        zone: ZoneInfo | None = None,
        currency: str | None = None,
    ) -> None:
        self._paths = [paths] if isinstance(paths, Path) else list(paths)
        self._vendor = vendor
        self._mapping = mapping
        self._zone = zone
        self._currency = currency
        self.shape = ""
        self.columns: dict[str, str] = {}  # which column gave each field
        self.codes = False  # its models' names may be numbers of a price list
        self.left_out: dict[str, tuple[int, int]] = {}

    def zone(self, own: ZoneInfo) -> ZoneInfo:
        """The zone of its days: the one asked for, its shape's, or the ledger's."""
        told = of_vendor(self._vendor)[0].zone
        if self._mapping is not None and self._mapping.zone is not None:
            told = self._mapping.zone
        return self._zone or (own if told is None else ZoneInfo(told))

    def lines(self, own_zone: ZoneInfo) -> Iterator[VendorLine]:
        """Each line. Raises UnreadableBill and OSError."""
        if len(self._paths) > FILES_MAX:
            raise UnreadableBill(
                f"There are {len(self._paths):,} files: give {FILES_MAX} at most, and append the "
                "others to them"
            )
        _check_different(self._paths)
        pages = BillPages()
        with ExitStack() as stack:
            found = [
                (opened, self._chosen(opened.columns))
                for path in self._paths
                for file in packed(path, stack)
                for opened in [sheet(file, self._fits, stack, pages)]
            ]
            known = [(opened, fit) for opened, fit in found if fit is not None]
            if not known:
                raise UnreadableBill(self._unknown([opened for opened, _ in found]))
            order = [shape.name for shape in of_vendor(self._vendor)]
            best = min((fit.shape for _, fit in known), key=lambda shape: order.index(shape.name))
            self.shape = best.name
            for opened, fit in found:
                if fit is None or fit.shape.name != best.name:
                    self._leave(LeftOut(_OTHER_SHAPE))
                    continue
                self._check_once(opened, fit)
                self.columns |= fit.places
                self.codes |= names_codes(fit)
                yield from self._read(opened, fit, own_zone)
            pages.check()

    def _check_once(self, opened: Sheet, fit: Chosen) -> None:
        """Raise UnreadableBill where a column that is read stands there twice."""
        for name in fit.places.values():
            if opened.columns.count(name) > 1:
                raise UnreadableBill(
                    f"{opened.name} has two columns {name!r}, and only one can be read: rename "
                    "the other, or leave the field out with --mapping"
                )

    def _read(self, opened: Sheet, fit: Chosen, own_zone: ZoneInfo) -> Iterator[VendorLine]:
        currency = self._currency or fit.shape.currency
        if self._mapping is not None:
            currency = self._currency or self._mapping.currency or fit.shape.currency
        told = self._mapping or BillMapping()
        reader = LineReader(
            fit,
            self.zone(own_zone),
            currency,
            mark=DecimalMark("," if opened.comma else ".", told.decimal),
            day_first=told.day_first,
        )
        rows = iter(opened.rows)
        first = list(itertools.islice(rows, _ROWS_LOOKED_AT))
        for _, row in first:
            reader.look(row)
        for number, row in itertools.chain(first, rows):
            line = reader.read(number, row)
            if isinstance(line, LeftOut):
                self._leave(line)
            else:
                yield line
        reader.check()

    def _leave(self, left: LeftOut) -> None:
        count, nano = self.left_out.get(left.reason, (0, 0))
        self.left_out[left.reason] = (count + 1, nano + left.amount_nano)

    def _fits(self, columns: Sequence[str]) -> bool:
        return self._chosen(columns) is not None

    def _chosen(self, columns: Sequence[str]) -> Chosen | None:
        if self._mapping is None:
            return chosen(self._vendor, columns)
        for shape in of_vendor(self._vendor):
            mapped = _mapped(shape, self._mapping)
            if (found := fitted(mapped, columns)) is not None:
                return found
        return None

    def _unknown(self, sheets: Sequence[Sheet]) -> str:
        """Which columns were found, which are needed, and what to do."""
        told = []
        for one in sheets[:5]:
            names = ", ".join(_told(name.strip()) for name in one.columns[:_COLUMNS_TOLD])
            told.append(f"{one.name} has the columns: {names or 'none'}.")
        wanted = [f"  {shape.name}: {needs(shape)}" for shape in of_vendor(self._vendor)]
        return "\n".join(
            [
                f"This is no bill of {self._vendor} that is known.",
                *told,
                "Needed are:",
                *wanted,
                "Choose the vendor with --vendor, or name the columns with --mapping FILE "
                "(docs/reconcile.md).",
            ]
        )


def _check_different(paths: Sequence[Path]) -> None:
    """Raise UnreadableBill where a file is given twice: all in it would count double."""
    seen: dict[bytes, Path] = {}
    for path in paths if len(paths) > 1 else ():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        if (other := seen.setdefault(digest, path)) is not path:
            raise UnreadableBill(f"{path} is the same file as {other}: give it once")


def _told(name: str) -> str:
    """A column's name; the start of a long one, which in another kind of file may be a secret."""
    return f"{name[:20]}…" if len(name) > _NAME_TOLD else name or '""'


def mapping_of(path: Path) -> BillMapping:
    """Reads a mapping, as YAML or JSON. Raises UnreadableBill and OSError."""
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        mapping = msgspec.convert(said, BillMapping)
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise UnreadableBill(
            f'{path} is no mapping: {error}. Write columns: {{at: "Date", model: "Model", '
            f'amount: "Cost"}}, and currency: USD'
        ) from error
    unknown = sorted(set(mapping.columns) - set(FIELDS))
    if unknown:
        raise UnreadableBill(
            f"{path} names the field {unknown[0]!r}; there are {', '.join(FIELDS)}"
        )
    if mapping.divisor < 1:
        raise UnreadableBill(f"{path}: `divisor` is at least 1; 100 for amounts in cents")
    try:
        ZoneInfo(mapping.zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise UnreadableBill(f"{path}: there is no zone {mapping.zone!r}") from error
    return mapping


def _mapped(shape: FileShape, mapping: BillMapping) -> FileShape:
    columns: Mapping[str, tuple[str, ...]] = {
        **shape.columns,
        **{field: (column,) for field, column in mapping.columns.items() if column},
    }
    left = {field for field, column in mapping.columns.items() if not column}
    return msgspec.structs.replace(
        shape,
        columns={field: names for field, names in columns.items() if field not in left},
        divisor=mapping.divisor if mapping.divisor > 1 else shape.divisor,
    )
