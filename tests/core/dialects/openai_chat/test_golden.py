"""Every vendor's answer in every framing reads the same; docs/vendors.md shows each."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from proxy.core.dialects.openai_chat.meter import ChatMeter
from tests.core.dialects.openai_chat.golden import GOLDENS, Golden

DOC = Path(__file__).parents[4] / "docs" / "vendors.md"
BOM = b"\xef\xbb\xbf"
EACH = pytest.mark.parametrize("golden", GOLDENS, ids=[golden.name for golden in GOLDENS])


def read(golden: Golden, chunks: Iterable[bytes]) -> dict[str, object]:
    meter = ChatMeter(
        stream=golden.stream,
        content_type=golden.content_type,
        status=golden.status,
        cached_inside_input=golden.cached_inside_input,
    )
    for chunk in chunks:
        meter.feed(chunk)
    meter.end()
    return {name: getattr(meter, name) for name in golden.expected()}


def framings(golden: Golden) -> dict[str, bytes]:
    """The same answer in the forms that a server or a proxy on the way may give it."""
    body = golden.body
    forms = {
        "LF": body,
        "CRLF": body.replace(b"\n", b"\r\n"),
        "CR": body.replace(b"\n", b"\r"),
        "BOM": BOM + body,
    }
    if body.startswith((b"data:", b":")):
        forms["comments"] = b":\n\n" + body.replace(b"data:", b": ping\nid: 7\ndata:").replace(
            b"\n\n", b"\n: pong\n\n"
        )
        forms["no last line end"] = body.rstrip(b"\n")
    return forms


def places(body: bytes) -> list[int]:
    """Where to split in two: around the starts of the last three events and the end, and at 64
    places by chance. The campaign splits everywhere."""
    starts = [found.start() for found in re.finditer(rb"data:", body)][-3:]
    around = {at + by for at in (*starts, len(body)) for by in range(-6, 7)}
    return sorted(
        {at for at in around if 0 <= at <= len(body)}
        | set(random.Random(len(body)).sample(range(len(body) + 1), min(64, len(body))))
    )


@EACH
def test_it_reads_as_expected(golden: Golden) -> None:
    assert read(golden, [golden.body]) == golden.expected()


@EACH
def test_no_framing_changes_it(golden: Golden) -> None:
    expected = golden.expected()
    for form, body in framings(golden).items():
        assert read(golden, [body[at : at + 1] for at in range(len(body))]) == expected, (
            f"{form}, byte by byte"
        )
        assert read(golden, body.splitlines(keepends=True)) == expected, f"{form}, line by line"
        for at in places(body):
            assert read(golden, [body[:at], body[at:]]) == expected, f"{form}, split at {at}"


@pytest.mark.campaign
@EACH
def test_no_split_in_two_changes_it(golden: Golden) -> None:
    expected = golden.expected()
    for form, body in framings(golden).items():
        for at in range(len(body) + 1):
            assert read(golden, [body[:at], body[at:]]) == expected, f"{form}, split at {at}"


def test_each_has_a_name_of_its_own() -> None:
    assert len({golden.name for golden in GOLDENS}) == len(GOLDENS)


def test_the_document_shows_each_vendor_shape_and_result() -> None:
    rows = [
        f"| {golden.vendor} | `{golden.name}` | {golden.shape} | {golden.result()} |"
        for golden in GOLDENS
    ]
    shown = [
        line
        for line in DOC.read_text().splitlines()
        if line.startswith("| ") and "`" in line.split("|")[2]
    ]
    assert shown == rows, (
        "docs/vendors.md and the goldens differ: it has one row for each, in their order:\n"
        + "\n".join(rows)
    )
