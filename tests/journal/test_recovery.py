"""Recovery as a property: whatever is written, and whatever range of bytes is destroyed, all
entries outside of it count and the rest is told."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.journal import Journal, recover
from proxy.journal import frames as f
from proxy.journal.codec import decode_mark, id_of
from proxy.journal.segments import list_segments
from tests.journal.builders import SMALL, all_closes, marked, opened, record, running, voided
from tests.support.effort import examples

STEPS = st.lists(
    st.tuples(st.sampled_from("oooommcccv"), st.integers(0, 10**6)), min_size=1, max_size=60
)


class History:
    """The entries as a list, and what they mean."""

    def __init__(self) -> None:
        self.open: dict[str, list[int]] = {}  # id -> its marks
        self.closed: list[str] = []

    def apply(self, kind: int, id: str, tokens: int = 0) -> None:
        if kind == f.OPEN:
            self.open.setdefault(id, [])
        elif kind == f.MARK:
            if id in self.open:
                self.open[id].append(tokens)
        else:
            self.open.pop(id, None)
            if kind == f.CLOSE:
                self.closed.append(id)


def write(journal: Journal, steps: list[tuple[str, int]]) -> History:
    history = History()
    for number, (step, choice) in enumerate(steps):
        ids = list(history.open)
        id = ids[choice % len(ids)] if ids else ""
        if step == "o" or not ids:
            id = f"x{number}"
            journal.open(opened(id, end_user="u" * (choice % 9000)))
            history.apply(f.OPEN, id)
        elif step == "m":
            journal.mark(marked(id, choice))
            history.apply(f.MARK, id, choice)
        elif step == "c":
            journal.close(record(id))
            history.apply(f.CLOSE, id)
        else:
            journal.void(voided(id))
            history.apply(f.VOID, id)
    return history


async def lived(root: Path, steps: list[tuple[str, int]]) -> History:
    async with running(root) as journal:
        return write(journal, steps)


def read(directory: Path) -> tuple[dict[str, list[int]], list[str]]:
    found = recover(directory)
    return {
        exchange.id: [mark.output_tokens for mark in marks] for exchange, marks in found.unresolved
    }, [c.id for _, c in all_closes(directory, 10**9)]


@settings(max_examples=examples(60))
@given(STEPS)
def test_what_was_written_is_what_is_found(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        history = asyncio.run(lived(Path(root), steps))
        assert read(Path(root, "w0")) == (history.open, history.closed)
        assert recover(Path(root, "w0")).skipped_bytes == 0


@settings(max_examples=examples(150))
@given(STEPS, st.data())
def test_all_entries_outside_a_destroyed_range_count(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as root:
        asyncio.run(lived(Path(root), steps))
        files = list_segments(Path(root, "w0"))
        hit = data.draw(st.sampled_from(files)).path
        whole = hit.read_bytes()
        start = data.draw(st.integers(0, len(whole) - 1))
        end = data.draw(st.integers(start + 1, len(whole)))
        fill = data.draw(st.sampled_from(["zeros", "noise", "cut off"]))
        damaged = (
            whole[:start]
            + (
                bytes(end - start)
                if fill == "zeros"
                else random.Random(start).randbytes(end - start)
            )
            + whole[end:]
        )
        hit.write_bytes(whole[:start] if fill == "cut off" else damaged)
        left = hit.read_bytes()

        expected = History()
        lost = sound = 0
        for file in files:
            content = whole if file.path == hit else file.path.read_bytes()
            for frame in f.scan(content):
                sound_still = (
                    file.path != hit or left[frame.at : frame.end] == content[frame.at : frame.end]
                )
                lost += not sound_still
                if sound_still and frame.kind != f.START:
                    sound += 1
                    payload = frame.payload(content)
                    expected.apply(frame.kind, id_of(payload), _tokens(frame.kind, payload))
        found = recover(Path(root, "w0"))
        assert read(Path(root, "w0")) == (expected.open, expected.closed)
        assert found.frames == sound
        if lost and fill == "noise":
            assert found.skipped_bytes > 0
            assert found.skipped[0].path == hit
        if not lost:
            assert found.unopened == 0


def _tokens(kind: int, payload: bytes) -> int:
    return decode_mark(payload).output_tokens if kind == f.MARK else 0


def test_a_lost_opening_with_marks_is_told(tmp_path: Path) -> None:
    async def life() -> None:
        async with running(tmp_path) as journal:
            journal.open(opened("a"))
            journal.mark(marked("a"))

    asyncio.run(life())
    path = list_segments(tmp_path / "w0")[0].path
    data = path.read_bytes()
    opening = list(f.scan(data))[1]
    path.write_bytes(data[: opening.at] + bytes(opening.end - opening.at) + data[opening.end :])
    found = recover(tmp_path / "w0")
    assert (found.unresolved, found.unopened, found.skipped_bytes) == (
        [],
        1,
        opening.end - opening.at,
    )
    assert found.skipped[0].offset == opening.at


def test_leftovers_of_a_crash_are_cleared_and_read_over(tmp_path: Path) -> None:
    """A torn tail, an unused spare, a file in the making, a plain segment beside its finished
    copy."""

    async def life() -> None:
        async with running(tmp_path, SMALL) as journal:
            journal.open(opened("a"))

    asyncio.run(life())
    directory = tmp_path / "w0"
    with (directory / "0000000001.seg").open("ab") as file:
        file.write(f.encode(f.CLOSE, 2, b'{"id":"a"}')[:-1] + bytes(100))
    (directory / "0000000001.seg.gz").write_bytes(
        b"a copy that was made, but whose original was not yet removed"
    )
    (directory / "0000000002.seg").write_bytes(bytes(1000))
    (directory / "0000000003.seg.tmp").write_bytes(b"")
    journal = Journal.claim(tmp_path, SMALL)
    recovered = journal.take_recovered()
    assert ([exchange.id for exchange, _ in recovered.unresolved], recovered.last_seq) == (["a"], 1)
    assert recovered.skipped_bytes == len(f.encode(f.CLOSE, 2, b'{"id":"a"}')) - 1
    asyncio.run(journal.aclose())
    assert sorted(path.name for path in directory.glob("*.seg*")) == [
        "0000000001.seg",
        "0000000001.seg.gz",
        "0000000003.seg",
    ]
