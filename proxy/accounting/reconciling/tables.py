"""A vendor's file as rows of text, whatever its packing, encoding and layout.

It reads csv with any usual separator, JSON, JSON lines and pages of an API one behind the other,
in UTF-8, UTF-16 or GB18030, plain, as gz or in a zip. Nothing is held but a row, or for JSON the
rows of one bucket.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from proxy.accounting.reconciling.json_rows import BROKEN, BillPages, json_rows
from proxy.core.reconciling.line_reader import UnreadableBill

Row = dict[str, str]

SEPARATORS: Final = (",", ";", "\t", "|")
# Beyond these a file is no bill, and is not read into memory to find that out.
LINE_CHARS_MAX: Final = 1 << 20
COLUMNS_MAX: Final = 4096
FILES_MAX: Final = 400  # each is open while the bill is read
UNPACKED_SURE_BYTES: Final = 1 << 30
UNPACKED_TIMES_MAX: Final = 400  # as much as it is packed; bills are packed to a twentieth
HEAD_ROWS_MAX: Final = 20  # a bill may begin with a title and the account's name
_DIGITS: Final = re.compile(r"([0-9]+)")
_CHUNK_BYTES: Final = 1 << 20
_BUFFER_BYTES: Final = 1 << 16
_ENCODINGS: Final = ("utf-8", "gb18030")
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ELSEWHAT: Final = {
    b"%PDF": "a PDF: vendors have the same as csv",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save its sheet as csv",
    b"<!do": "a web page: the download needs to be signed in",
    b"<htm": "a web page: the download needs to be signed in",
    b"<?xm": "XML: choose csv or JSON",
}


class Packed(msgspec.Struct, frozen=True):
    """One file, or one file of a zip; `open` opens its bytes, unpacked."""

    name: str
    open: Callable[[], IO[bytes]]


class Sheet(msgspec.Struct):
    """Rows that share their columns.

    `fits` says whether a row can be the head. `comma`: a lone comma is a decimal mark.
    """

    name: str
    columns: list[str]
    rows: Iterator[tuple[int, Row]]
    comma: bool = False


Fits = Callable[[list[str]], bool]


def packed(path: Path, stack: ExitStack) -> list[Packed]:
    """The files in a file: itself, or those of a zip. Raises UnreadableBill and OSError."""
    with path.open("rb") as file:
        head = file.read(4)
    if not head:
        raise UnreadableBill(f"{path} is empty")
    if head == b"PK\x03\x04":
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
        except zipfile.BadZipFile as error:
            raise UnreadableBill(f"{path} is a broken zip: download it again") from error
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if "[Content_Types].xml" in names:
            raise UnreadableBill(f"{path} is an Excel workbook: save its sheet as csv")
        if len(names) > FILES_MAX:
            raise UnreadableBill(
                f"{path} has {len(names):,} files, and no bill has more than {FILES_MAX}: make a "
                "zip of those that are"
            )
        return [
            Packed(
                f"{path}:{name}",
                _unpacking(
                    lambda name=name: archive.open(name),  # type: ignore[misc]
                    archive.getinfo(name).compress_size,
                    f"{path}:{name}",
                ),
            )
            for name in sorted(names, key=_natural)
            if not name.startswith("__MACOSX")
        ]
    opened = _unpacking(lambda: path.open("rb"), path.stat().st_size, str(path))
    return [Packed(str(path), opened)]


def sheet(file: Packed, fits: Fits, stack: ExitStack, pages: BillPages | None = None) -> Sheet:
    """The rows of one file. Raises UnreadableBill.

    `fits` says whether a list of columns is the head of what is looked for. `pages`: see
    `json_rows`.
    """
    try:
        with file.open() as opened:
            start = opened.read(4096)
    except BROKEN as error:
        raise _broken(file, error) from error
    for mark, what in _ELSEWHAT.items():
        if start.lstrip().lower().startswith(mark.lower()):
            raise UnreadableBill(f"{file.name} is {what}")
    encoding = _encoding(file, start)
    text = _text(file, encoding, stack)
    begin = start.decode(encoding, "ignore").lstrip("\ufeff \r\n\t")[:1]
    if begin in ("{", "["):
        return _json_sheet(file, text, pages, lambda: _text(file, encoding, stack))
    return _csv_sheet(file, text, fits, lambda: _text(file, encoding, stack))


def _natural(name: str) -> list[tuple[int, str]]:
    """The name as it sorts where page10 is behind page9."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in _DIGITS.split(name)]


def _unpacking(
    opened: Callable[[], IO[bytes]], packed_bytes: int, name: str
) -> Callable[[], IO[bytes]]:
    """Opens it, and unpacks it if it is gz. Reading too much of it raises UnreadableBill."""
    most = max(UNPACKED_SURE_BYTES, UNPACKED_TIMES_MAX * packed_bytes)

    def unpacked() -> IO[bytes]:
        with opened() as file:
            gz = file.read(2) == b"\x1f\x8b"
        file = _Gz(opened()) if gz else opened()  # type: ignore[assignment]
        return io.BufferedReader(_Bounded(file, most, name), _BUFFER_BYTES)

    return unpacked


class _Bounded(io.RawIOBase):
    """The first `most` bytes of a file, which it closes."""

    def __init__(self, file: IO[bytes], most: int, name: str) -> None:
        self._file = file
        self._left = most
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._file.read(len(buffer))
        self._left -= len(chunk)
        if self._left < 0:
            raise UnreadableBill(
                f"{self._name} unpacks to much more than a bill has: unpack it yourself, and look "
                "at what it is"
            )
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Gz(gzip.GzipFile):
    """A gz that closes the file that it is in."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(fileobj=file)
        self._file = file

    def close(self) -> None:
        super().close()
        self._file.close()


def _encoding(file: Packed, start: bytes) -> str:
    """The encoding in which all of the file can be read."""
    tried: tuple[str, ...] = _ENCODINGS
    if start[:200].count(0) * 3 > len(start[:200]):
        tried = ("utf-16-le" if start[1:2] == b"\0" else "utf-16-be",)
    for mark, marked in _MARKS:
        if start.startswith(mark):
            tried = (marked,)
    for encoding in tried:
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            with file.open() as opened:
                while chunk := opened.read(_CHUNK_BYTES):
                    if "\0" in decoder.decode(chunk):
                        raise UnreadableBill(
                            f"{file.name} has zero bytes, which no text has: download it again"
                        )
                decoder.decode(b"", True)
        except UnicodeDecodeError:
            continue
        except BROKEN as error:
            raise _broken(file, error) from error
        return encoding
    raise UnreadableBill(
        f"{file.name} is in no encoding that is read (UTF-8, UTF-16, GB18030): save it as UTF-8"
    )


def _broken(file: Packed, error: Exception) -> UnreadableBill:
    return UnreadableBill(f"{file.name} is broken: {error}; download it again")


def _text(file: Packed, encoding: str, stack: ExitStack) -> IO[str]:
    opened = stack.enter_context(file.open())
    return stack.enter_context(io.TextIOWrapper(opened, encoding, newline=""))


def _csv_sheet(file: Packed, text: IO[str], fits: Fits, again: Callable[[], IO[str]]) -> Sheet:
    lines = list(itertools.islice(_lines(text, file.name), HEAD_ROWS_MAX))
    told = lines[0].strip().strip('"') if lines else ""
    named = [told[4]] if told.lower().startswith("sep=") and len(told) == 5 else []
    widest: list[str] = []
    for separator in named or SEPARATORS:
        try:
            heads = list(csv.reader(lines, delimiter=separator))
        except csv.Error as error:
            raise UnreadableBill(f"{file.name} is no csv: {error}") from error
        for place, cells in enumerate(heads):
            if len(cells) > COLUMNS_MAX:
                raise UnreadableBill(
                    f"{file.name}, line {place + 1} has {len(cells):,} columns: no bill has more "
                    f"than {COLUMNS_MAX:,}"
                )
            if len(cells) > len(widest):
                widest = cells
            if fits(cells):
                rows = _csv_rows(file, again(), separator, place, cells)
                return Sheet(file.name, cells, rows, comma=separator == ";")
    return Sheet(file.name, widest, iter(()))


def _lines(text: IO[str], name: str) -> Iterator[str]:
    """The lines of a file. Raises UnreadableBill for one that is too long to hold."""
    number = 0
    while line := text.readline(LINE_CHARS_MAX):
        number += 1
        if len(line) == LINE_CHARS_MAX:
            raise UnreadableBill(
                f"{name}, line {number} has more than {LINE_CHARS_MAX:,} characters: no line of a "
                "bill is so long"
            )
        yield line


def _csv_rows(
    file: Packed, text: IO[str], separator: str, head: int, columns: list[str]
) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(_lines(text, file.name), delimiter=separator)
    try:
        for cells in itertools.islice(reader, head + 1, None):
            if any(cells[len(columns) :]):
                raise UnreadableBill(
                    f"{file.name}, line {reader.line_num} has more cells than there are columns: "
                    "put amounts such as 1,234.56 into quotes, or leave out the separators"
                )
            if cells:
                yield reader.line_num, dict(zip(columns, cells, strict=False))
    except csv.Error as error:
        raise UnreadableBill(
            f"{file.name}, line {reader.line_num}: {error}; a quotation mark may lack its pair"
        ) from error
    except BROKEN as error:
        raise _broken(file, error) from error


def _json_sheet(
    file: Packed, text: IO[str], pages: BillPages | None, again: Callable[[], IO[str]]
) -> Sheet:
    """All rows are read once for their columns: a member may be left out where it says nothing."""
    columns: dict[str, None] = {}
    for row in json_rows(text, file.name, BillPages()):
        columns.update(dict.fromkeys(row))
        if len(columns) > COLUMNS_MAX:
            raise UnreadableBill(f"{file.name} has more than {COLUMNS_MAX:,} names of members")
    return Sheet(file.name, list(columns), enumerate(json_rows(again(), file.name, pages), 1))
