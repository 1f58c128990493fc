"""The rows of an export: JSON as an API answers it, a dump of a database, JSON lines, or CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

DEPTH_MAX = 4  # of lists and objects around the rows
CELL_CHARS_MAX = 1024 * 1024
_ABSENT = ("", "NULL", "\\N", "null", "None")
_TRUE, _FALSE = ("true", "t", "1", "yes"), ("false", "f", "0", "no")
_CONTAINERS = frozenset("keys teams data items tokens results rows".split())
_IDENTITIES = frozenset({"token", "key", "team_id", "budget_id"})
_DELIMITERS = ",;\t"
_SEPARATOR = re.compile(r"sep=([,;\t|])")  # a first line that spreadsheets write


class ExportError(Exception):
    """This is no such export. The message says what to do."""


class ExportRow(msgspec.Struct, frozen=True):
    """One row: where it stands, and its fields. What is absent or null is left out."""

    place: str
    fields: Mapping[str, Any]

    def text(self, name: str) -> str | None:
        """A field as text; None if it is absent."""
        value = self.fields.get(name)
        return None if value is None else str(value).strip() or None

    def number(self, name: str) -> Decimal | None:
        """A field as a number. Raises ValueError for anything else."""
        return as_number(self.fields.get(name), name)

    def count(self, name: str) -> int | None:
        """A field as a whole number, rounded down. Raises ValueError for anything else."""
        found = self.number(name)
        return None if found is None else int(found)

    def truth(self, name: str) -> bool:
        """Whether a field is true; absent is false. Raises ValueError for what is neither."""
        value = self.fields.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        word = str(value).strip().lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise ValueError(f"{name} is neither true nor false")

    def differs(self, other: ExportRow) -> list[str]:
        """The fields of which the two say different things."""
        both = self.fields.keys() & other.fields.keys()
        return sorted(name for name in both if self.fields[name] != other.fields[name])

    def names(self, name: str) -> list[str]:
        """A list of texts: of JSON, of a PostgreSQL array, or with commas between them."""
        value = self.fields.get(name)
        if isinstance(value, str) and value.lstrip()[:1] == "[":
            value = self.parsed(name)
        if value is None:
            return []
        if isinstance(value, str):
            inner = value.strip()
            if inner[:1] == "{" and inner[-1:] == "}":
                inner = inner[1:-1]
            rows = list(csv.reader([inner], escapechar="\\", skipinitialspace=True))
            value = rows[0] if rows else []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"{name} is no list of names")
        return [item.strip() for item in value if item.strip()]

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object; empty if it is absent. Raises ValueError for anything else."""
        value = self.parsed(name)
        if value is None or value == []:
            return {}
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} is no JSON object")
        return value

    def parsed(self, name: str) -> Any:
        """A field; a text that holds a list or an object of JSON is read."""
        value = self.fields.get(name)
        if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
            try:
                return _json(value)
            except ValueError:
                return value
        return value


def as_number(value: object, name: str) -> Decimal | None:
    """A number of JSON or CSV, exactly. Raises ValueError for anything else."""
    if value is None:
        return None
    try:
        found = Decimal(str(value).strip()) if not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or abs(found.adjusted()) > 30:
        raise ValueError(f"{name} is no number")
    return found


def read_rows(text: bytes, source: str) -> list[ExportRow]:
    """All rows of an export. Raises ExportError."""
    try:
        plain = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExportError(f"{source} is not UTF-8: export it again as UTF-8.") from error
    if not plain.strip():
        raise ExportError(f"{source} is empty: export it again.")
    if "\0" in plain:
        raise ExportError(f"{source} holds NUL, as UTF-16 does: export it again as UTF-8.")
    if plain.lstrip()[:1] in ("[", "{"):
        return list(_of_json(plain, source))
    return list(_of_csv(plain, source))


def _of_json(text: str, source: str) -> Iterator[ExportRow]:
    try:
        whole = _json(text)
    except ValueError as error:
        lines = [(at, line) for at, line in enumerate(text.splitlines(), 1) if line.strip()]
        try:
            found = [(f"line {at}", _json(line)) for at, line in lines]
        except ValueError:
            raise ExportError(f"{source} is no JSON ({error}).") from error
        if len(found) < 2:
            raise ExportError(f"{source} is no JSON ({error}).") from error
        for place, value in found:
            yield from _found(value, f"{source} {place}", 1)
        return
    yield from _found(whole, source, 0)


def _found(value: object, place: str, depth: int) -> Iterator[ExportRow]:
    """The rows in a value: itself, those in its lists, and those in the lists around them."""
    if isinstance(value, Mapping):
        pages, info = value.get("total_pages"), value.get("info")
        if isinstance(pages, int) and pages > 1:
            raise ExportError(
                f"{place} is one page of {pages}: ask for all of them (`size`, `page`), and give"
                " each as a file."
            )
        if isinstance(info, Mapping) and isinstance(value.get("key"), str):
            value = {**info, "token": value["key"]}
        inner = {name: item for name, item in value.items() if _holds_rows(name, item)}
        if not inner or _IDENTITIES & set(value):
            yield ExportRow(place, {name: item for name, item in value.items() if item is not None})
        if depth < DEPTH_MAX:
            for name, item in inner.items():
                yield from _found(item, f"{place} {name}", depth + 1)
    elif isinstance(value, list) and depth < DEPTH_MAX:
        for at, item in enumerate(value, 1):
            if isinstance(item, str):
                raise ExportError(
                    f"{place} names keys alone, not what they may do: ask with"
                    " return_full_object=true."
                )
            yield from _found(item, f"{place} row {at}", depth + 1)
    else:
        yield ExportRow(place, {"broken": "it is no object"})


def _holds_rows(name: str, value: object) -> bool:
    """Whether a member is a list of rows, or an answer around one."""
    folded = name.lower()
    if isinstance(value, list):
        return folded in _CONTAINERS or folded.startswith("litellm_")
    return folded == "data" and isinstance(value, Mapping)


def _of_csv(text: str, source: str) -> Iterator[ExportRow]:
    head = re.split(r"[\r\n]", text, maxsplit=1)[0]
    said = _SEPARATOR.fullmatch(head.strip())
    delimiter = max(_DELIMITERS, key=head.count) if said is None else said[1]
    csv.field_size_limit(CELL_CHARS_MAX)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        if said is not None:
            next(reader)
        names = [name.strip().strip('`"[]').lower() for name in next(reader, [])]
        if not _IDENTITIES & set(names):
            raise ExportError(
                f"{source} is no export of keys: the first line of a CSV names its columns, one of"
                f" them {', '.join(sorted(_IDENTITIES))}."
            )
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ExportError(f"{source} names the column {twice[:40]!r} twice.")
        for cells in reader:
            place = f"{source} line {reader.line_num}"
            if len(cells) == len(names):
                row = zip(names, cells, strict=True)
                yield ExportRow(
                    place, {name: cell for name, cell in row if cell.strip() not in _ABSENT}
                )
            elif cells:
                # Fields that are out of step would give one key the limits of another.
                broken = f"it has {len(cells)} columns, and {len(names)} are named"
                yield ExportRow(place, {"broken": broken})
    except csv.Error as error:
        raise ExportError(f"{source} line {reader.line_num}: {error}.") from error


def _named_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. One that says something twice says nothing: readers differ in which holds."""
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _ in members]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:40]!r} stands twice in one object")
    return found


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal, object_pairs_hook=_named_once)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
