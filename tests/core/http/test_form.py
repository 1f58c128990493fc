"""A form is read as it passes, in any pieces; what two readers would read differently is refused."""

from __future__ import annotations

import pytest

from proxy.core.errors import ProxyError
from proxy.core.http.form import FIELDS_BYTES_MAX, PARTS_MAX, FormPart, FormReader, boundary_of


def part(head: str, content: bytes = b"v") -> bytes:
    return b"--AaB\r\n%b\r\n\r\n%b\r\n" % (head.encode(), content)


def disposition(rest: str) -> str:
    return f"Content-Disposition: form-data; {rest}"


END = b"--AaB--\r\n"
NAMED = disposition('name="a"')


def read(body: bytes, size: int) -> list[FormPart]:
    reader = FormReader(b"AaB")
    found = [one for at in range(0, len(body), size) for one in reader.feed(body[at : at + size])]
    reader.end()
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_parts_are_found_in_any_pieces(size: int) -> None:
    body = (
        part(NAMED, b"one")
        + part(disposition("name=b[]") + "\r\nContent-Type: text/plain; charset=UTF-8", b"")
        + part(disposition('name="f"; filename="a b"') + "\r\nContent-Type: image/png", b"\r\n--Aa")
        + part(disposition("name=\"g\"; filename*=utf-8''x"), b"\0\r")
        + part(disposition('name="h"; filename=""') + "\r\nContent-Transfer-Encoding: 8bit")
        + part(disposition('name="large"; filename="x"'), b"-" * (FIELDS_BYTES_MAX + 1))
        + END
    )
    assert read(body, size) == [
        FormPart("a", False, b"one"),
        FormPart("b[]", False, b""),
        FormPart("f", True, b"\r\n--Aa"),
        FormPart("g", False, b"\0\r"),
        FormPart("h", False, b"v"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x" + part(NAMED) + END,
        b"\r\n" + part(NAMED) + END,
        part(NAMED),
        part(NAMED) + END + b"x",
        part(NAMED) + END + part(NAMED) + END,
        part(NAMED, b"\n--AaB\n" + NAMED.encode() + b"\n\nw") + END,
        part(NAMED, b"\r--AaB\r") + END,
        part(NAMED, b"AaB") + END,
        part(NAMED, b'\r\n--"AaB"\r\n') + END,
        part(NAMED).replace(b"--AaB\r\n", b"--AaB \r\n") + END,
        part("X: y") + END,
        part("") + END,
        part(NAMED + "\r\n" + NAMED) + END,
        part(NAMED + "\r\n folded: x") + END,
        part(NAMED + "\nX: y") + END,
        part(NAMED + "\r\nContent-Encoding: gzip") + END,
        part(NAMED + "\r\nContent-Transfer-Encoding: quoted-printable") + END,
        part(NAMED + "\r\nContent-Type: multipart/mixed; boundary=y") + END,
        part(NAMED + "\r\nContent-Type: text/plain; charset=utf-16") + END,
        part(NAMED + "\r\nContent-Type: text/plain; charset*=utf-16") + END,
        part(disposition('name="a\\"; filename="b"')) + END,
        part(disposition('name="a"; name="b"')) + END,
        part(disposition('filename="a"')) + END,
        part(disposition("name=_charset_"), b"utf-7") + END,
        part("Content-Disposition: attachment; name=a") + END,
        part(NAMED + "\r\nContent-Type: AaB") + END,
        part("X" * 9000) + END,
    ],
)
@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_what_readers_could_read_differently_is_refused(body: bytes, size: int) -> None:
    with pytest.raises(ProxyError) as refused:
        read(body, size)
    assert refused.value.status == 415


@pytest.mark.parametrize(
    "body", [part(NAMED, b"-" * FIELDS_BYTES_MAX) + part(NAMED), part(NAMED) * (PARTS_MAX + 1)]
)
@pytest.mark.parametrize("size", [1000, 10_000_000])
def test_fields_and_parts_are_bounded(body: bytes, size: int) -> None:
    with pytest.raises(ProxyError) as refused:
        read(body + END, size)
    assert refused.value.status == 413


def test_the_last_line_end_may_be_missing() -> None:
    assert len(read(part(NAMED) + END[:-2], 4)) == 1


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        (b"multipart/form-data; boundary=--x-1", b"--x-1"),
        (b'Multipart/Form-Data;boundary="==1=="; charset=utf-8 ', b"==1=="),
        (b"multipart/form-data", None),
        (b"multipart/mixed; boundary=x", None),
        (b"multipart/form-data; boundary=x; boundary=y", None),
        (b"multipart/form-data; boundary=x; boundary*=y", None),
        (b"multipart/form-data; boundary=x, y", None),
        (b'multipart/form-data; boundary="x y"', None),
        (b"multipart/form-data; boundary=x; charset=utf-16", None),
        (b"multipart/form-data; a=b; boundary=x", None),
    ],
)
def test_the_boundary_is_one_for_all_readers(kind: bytes, boundary: bytes | None) -> None:
    if boundary is not None:
        assert boundary_of(kind) == boundary
        return
    with pytest.raises(ProxyError):
        boundary_of(kind)
