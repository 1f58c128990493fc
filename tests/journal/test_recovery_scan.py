"""The scan: what a directory holds, whatever became of its files."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import pytest

from proxy.journal import frames as f
from proxy.journal import recover
from proxy.journal.recovery import SKIPPED_LISTED_MAX, Scan, scan_directory

KINDS = {"S": f.START, "O": f.OPEN, "M": f.MARK, "C": f.CLOSE, "V": f.VOID}


def segment(story: str) -> bytes:
    """Frames from words like `O1a`, an opening of a with seq 1; `#7` is seven damaged bytes, `07`
    seven zeros, `C1?` a close that states no id."""
    data = b""
    for word in story.split():
        if word[0] in "#0":
            data += (b"#" if word[0] == "#" else b"\0") * int(word[1:])
        else:
            id = word[-1] if word[-1].isalpha() else ""
            payload = (
                b""
                if word[0] == "S"
                else b"{}"
                if word[-1] == "?"
                else b'{"id":"%s"}' % id.encode()
            )
            data += f.encode(KINDS[word[0]], int(word[1:].strip("abcdefgh?")), payload)
    return data


def write(directory: Path, stories: dict[str, str]) -> None:
    for name, story in stories.items():
        data = segment(story)
        (directory / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


def told(found: Scan) -> tuple[str, str, int, int, int]:
    """Open exchanges with their number of marks and their segment, ids known by marks alone,
    entries, last seq, bytes skipped."""
    unresolved = " ".join(
        f"{id}{len(exchange.marks)}@{exchange.number}" for id, exchange in found.unresolved.items()
    )
    return (
        unresolved,
        " ".join(sorted(found.unopened)),
        found.frames,
        found.last_seq,
        found.skipped_bytes,
    )


EMPTY = f.HEADER_BYTES + len(b"{}")


@pytest.mark.parametrize(
    ("stories", "expected"),
    [
        # segments                                                            open         marks
        # alone  entries  last  skipped
        ({},                                                                  ("",          "",          0,       0,    0)),
        ({"1.seg": "S0 O1a M2a M3a O4b C5b O6c V7c"},                         ("a2@1",      "",          7,       7,    0)),
        ({"1.seg": "S0 O1a 0500", "2.seg": "0500"},                           ("a0@1",      "",          1,       1,    0)),
        ({"1.seg": "S0 O1a M2a", "2.seg": "S2 O3a M4a O5b"},                  ("a2@1 b0@2", "",          5,       5,    0)),  # written again
        ({"1.seg": "S0 O1a", "2.seg": "S1 C2a"},                              ("",          "",          2,       2,    0)),
        ({"10.seg": "S1 C2a", "9.seg": "S0 O1a"},                             ("",          "",          2,       2,    0)),  # by number, not name
        ({"1.seg": "S0 O1a O3b", "2.seg": "S1 V2b"},                          ("a0@1",      "",          3,       3,    0)),  # a write not undone
        ({"1.seg": "S0 #9 O2a #5 M3a #7 030"},                                ("a1@1",      "",          2,       3,    21)),
        ({"1.seg": "S0 010 O2a"},                                             ("a0@1",      "",          1,       2,    10)),  # a hole
        ({"1.seg": "S0 M2a M3b C4b"},                                         ("",          "a",         3,       4,    0)),
        ({"1.seg": "S0 O1? O2b"},                                             ("b0@1",      "",          2,       2,    EMPTY)),
        ({"1.seg.gz": "S0 O1a C2a", "2.seg": "S2 O3b"},                       ("b0@2",      "",          1,       3,    0)),  # a done one is not read
        ({"1.seg.gz": "S0 O1a C2a"},                                          ("",          "",          0,       2,    0)),  # but for the last seq
        ({"1.seg": "S0 O1a", "1.seg.gz": "S0 O1a C2a"},                       ("a0@1",      "",          1,       1,    0)),
    ],
)  # fmt: skip
def test_what_is_found(
    tmp_path: Path, stories: dict[str, str], expected: tuple[str, str, int, int, int]
) -> None:
    write(tmp_path, stories)
    assert told(scan_directory(tmp_path)) == expected


def test_the_segments_are_described(tmp_path: Path) -> None:
    write(tmp_path, {"1.seg.gz": "S0 C1a", "2.seg": "S1 C2b O3c #4 050", "3.seg": "050"})
    found = scan_directory(tmp_path)
    size = len(segment("S1 C2b O3c #4"))
    assert [(file.number, file.size, file.end, file.last_close_seq) for file in found.segments] == [
        (2, size + 50, size, 2),
        (3, 50, 0, 0),
    ]
    assert [(done.number, done.size) for done in found.done] == [
        (1, (tmp_path / "1.seg.gz").stat().st_size)
    ]
    assert [(skipped.path.name, skipped.offset, skipped.bytes) for skipped in found.skipped] == [
        ("2.seg", size - 4, 4)
    ]


def test_a_thousand_holes_are_counted_and_the_first_hundred_named(tmp_path: Path) -> None:
    write(tmp_path, {"1.seg": " ".join(f"#1 M{seq}a" for seq in range(1, 1001))})
    found = scan_directory(tmp_path)
    assert (found.skipped_bytes, len(found.skipped)) == (1000, SKIPPED_LISTED_MAX)


def test_a_broken_finished_segment_stops_nothing(tmp_path: Path) -> None:
    write(tmp_path, {"1.seg": "S0 O5a"})
    (tmp_path / "2.seg.gz").write_bytes(gzip.compress(segment("S5 C9a"))[:-12])
    assert told(scan_directory(tmp_path)) == ("a0@1", "", 1, 5, 0)


def test_a_segment_finished_while_it_is_looked_at_makes_it_look_again(tmp_path: Path) -> None:
    """Else an end that moved into a finished segment would be missing, and its exchange look
    open."""
    directory = tmp_path / "w0"
    directory.mkdir()
    first, second = directory / "0000000001.seg", directory / "0000000002.seg"
    os.mkfifo(first)  # reading it waits for whoever opens it for writing
    second.write_bytes(f.encode(f.START, 1, b"") + f.encode(f.OPEN, 2, b'{"id":"a"}'))

    def finish() -> None:
        with first.open("wb"):
            first.unlink()
            second.rename(directory / "0000000002.seg.gz")
            (directory / "0000000003.seg").write_bytes(f.encode(f.START, 2, b""))

    thread = threading.Thread(target=finish)
    thread.start()
    found = recover(directory)
    thread.join()
    assert (found.unresolved, found.frames, found.last_seq) == ([], 0, 2)
