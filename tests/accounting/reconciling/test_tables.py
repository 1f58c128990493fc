"""Files of any packing, encoding and layout as the same rows."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import tracemalloc
import zipfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from proxy.accounting.reconciling import tables
from proxy.accounting.reconciling.tables import packed, sheet
from proxy.core.reconciling.line_reader import UnreadableBill

HEAD = ["日期", "model", "cost"]
ROWS = [["2026-11-01", "通义千问", "1,5"], ["2026-11-02", 'a "b", c', "2"]]


def quoted(separator: str) -> str:
    lines = [HEAD, *ROWS]
    return "\r\n".join(
        separator.join('"' + cell.replace('"', '""') + '"' for cell in line) for line in lines
    )


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return out.getvalue()


def rows_of(path: Path) -> list[dict[str, str]]:
    with ExitStack() as stack:
        return [
            row
            for file in packed(path, stack)
            for _, row in sheet(file, lambda cells: "model" in cells, stack).rows
        ]


TEXT = quoted(",")
PACKINGS: dict[str, bytes] = {
    "utf-8": TEXT.encode(),
    "utf-8 with a mark": codecs.BOM_UTF8 + TEXT.encode(),
    "utf-16": TEXT.encode("utf-16"),
    "utf-16 big endian": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "gb18030": TEXT.encode("gb18030"),
    "semicolons": quoted(";").encode(),
    "tabs": quoted("\t").encode(),
    "bars": quoted("|").encode(),
    "sep= in the first line": ("sep=;\n" + quoted(";")).encode(),
    "a title before the head": ("Rechnung Nr. 7\n\nKonto,42\n" + TEXT).encode(),
    "bare newlines and empty ones": TEXT.replace("\r\n", "\n\n").encode() + b"\n\n",
    "gz": gzip.compress(TEXT.encode("gb18030")),
    "zip": zipped(bill__csv=TEXT.encode()),
    "gz in a zip": zipped(bill__csv__gz=gzip.compress(TEXT.encode())),
    "JSON": json.dumps({"data": [dict(zip(HEAD, row, strict=True)) for row in ROWS]}).encode(),
    "a list in JSON": json.dumps(
        [dict(zip(HEAD, row, strict=True)) for row in ROWS], ensure_ascii=False
    ).encode("utf-8-sig"),
    "JSON lines": b"\n".join(
        json.dumps(dict(zip(HEAD, row, strict=True))).encode() for row in ROWS
    ),
    "JSON in utf-16": json.dumps([dict(zip(HEAD, row, strict=True)) for row in ROWS]).encode(
        "utf-16"
    ),
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_the_rows_are_the_same_in_any_packing(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "bill"
    path.write_bytes(PACKINGS[packing])
    assert rows_of(path) == [dict(zip(HEAD, row, strict=True)) for row in ROWS]


WRONG: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is empty"),
    "a PDF": (b"%PDF-1.7 ...", "a PDF: vendors have the same as csv"),
    "a workbook": (zipped(**{"[Content_Types]__xml": b"x", "xl/workbook__xml": b"x"}), "save its sheet as csv"),
    "an old workbook": (b"\xd0\xcf\x11\xe0" + b"x" * 600, "old Excel workbook"),
    "a page": (b"<!DOCTYPE html><html>", "needs to be signed in"),
    "a zip of very many files": (zipped(**{f"{n}__csv": b"a,b" for n in range(401)}), "has 401 files, and no bill has more than 400"),
    "half a gz": (gzip.compress(TEXT.encode() * 50)[:-40], "broken"),
    "half a zip": (zipped(a__csv=TEXT.encode() * 90)[:-30], "broken zip"),
    "half a JSON": (b'{"data": [{"model": "a", "cost": 1}, {"mod', "no whole JSON"),
    "deep JSON": (b'{"a":' * 99 + b"1" + b"}" * 99, "nested too deeply"),
    "zero bytes": (b"model,cost\na,1\0\n", "has zero bytes, which no text has"),
    "a line without an end": (b"model,cost\na," + b"1" * (1 << 20), "line 2 has more than 1,048,576 characters"),
    "too many columns": (b"model," + b",".join(b"c" for _ in range(5_000)), "line 1 has 5,001 columns"),
    "an open quote": (b'model,cost\n"a,1\n' + b"b,2\n" * 50_000, "quotation mark may lack its pair"),
    "JSON with an endless text": (b'[{"model": "' + b"a" * (3 << 20), "a text or a number of more than"),
    "JSON with an endless object": (b"[{" + b",".join(b'"%d":1' % n for n in range(5_000)) + b"}]", "more than 4,096 members"),
    "no text": (bytes(range(128, 256)) * 9, "in no encoding that is read"),
    "a database": (b"SQLite format 3\0" + b"\0\x10" * 300 + b"\xd8\0" * 2, "in no encoding that"),
    "UTF-16 cut short": (TEXT.encode("utf-16")[:-1], "in no encoding that is read"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_table_is_said_to_be(tmp_path: Path, what: str) -> None:
    content, said = WRONG[what]
    path = tmp_path / "bill"
    path.write_bytes(content)
    with pytest.raises(UnreadableBill, match=said):
        rows_of(path)


@pytest.mark.parametrize("form", ["gz", "zip", "gz in a zip"])
def test_a_file_that_unpacks_without_an_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    text = b"model,cost\n" + b"".join(b"m%d,1.5\n" % (n * 7919 % 99_991) for n in range(99_991))
    path = tmp_path / "bill"
    path.write_bytes(
        gzip.compress(text)
        if form == "gz"
        else zipped(bill__csv=text)
        if form == "zip"
        else zipped(bill__csv__gz=gzip.compress(text))
    )
    monkeypatch.setattr(tables, "UNPACKED_SURE_BYTES", 1 << 18)
    assert len(rows_of(path)) == 99_991
    monkeypatch.setattr(tables, "UNPACKED_TIMES_MAX", 2)
    with pytest.raises(UnreadableBill, match="unpacks to much more than a bill has"):
        rows_of(path)


def test_a_line_with_an_amount_in_two_cells_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bill"
    path.write_text("date,model,cost\n2026-11-01,a,1,,\n2026-11-01,a,1,234.56\n")
    with pytest.raises(UnreadableBill, match=r"line 3 has more cells than .*1,234\.56 into quotes"):
        rows_of(path)


def test_a_member_that_late_rows_have_first_is_a_column(tmp_path: Path) -> None:
    path = tmp_path / "bill"
    rows = [{"model": "a"} for _ in range(500)] + [{"model": "b", "cost": 5}]
    path.write_text("\n".join(map(json.dumps, rows)))
    with ExitStack() as stack:
        [file] = packed(path, stack)
        found = sheet(file, lambda cells: True, stack)
        assert found.columns == ["model", "cost"]
        assert list(found.rows)[-1] == (501, {"model": "b", "cost": "5"})


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_large_file_is_not_held(tmp_path: Path, form: str) -> None:
    path = tmp_path / "bill"
    with path.open("w") as file:
        if form == "csv":
            file.write("date,model,cost\n")
            file.writelines(f"2026-11-01,model-{n},{n}.5\n" for n in range(60_000))
        else:
            file.write('{"data": [')
            file.writelines(f'{{"model": "m{n}", "cost": {n}.5}},\n' for n in range(30_000))
            file.write('{"model": "last", "cost": 1}]}')
    with ExitStack() as stack:
        [file_] = packed(path, stack)
        found = sheet(file_, lambda cells: "model" in cells, stack)
        next(found.rows)
        tracemalloc.start()
        try:
            count = sum(1 for _ in found.rows)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert count >= 30_000 and peak < 2_000_000
