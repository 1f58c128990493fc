"""The scripted upstream's log as a file: durable lines, and what a crash leaves of the last one."""

from __future__ import annotations

import msgspec

from proxy.scripted_upstream import AnswerLine, RequestLine, read_log
from proxy.scripted_upstream.log import RequestLog, sorted_headers


def test_a_log_cut_off_by_a_crash_is_read_up_to_there(tmp_path):
    log = tmp_path / "log"
    line = AnswerLine(
        order=1, at_ms=1, test_id=None, status=200, events=1, bytes=2, ended="complete"
    )
    log.write_bytes(msgspec.json.encode(line) + b'\n{"line":"answer","or')
    assert read_log(log) == [line]


def test_lines_come_back_as_written_and_a_log_goes_on_where_it_ended(tmp_path):
    log = tmp_path / "log"
    request = RequestLine(
        order=1,
        at_ms=1,
        method="POST",
        path="/v1/x",
        headers=(("A", "1"),),
        body_sha256="00",
        body_bytes=3,
        complete=False,
    )
    answer = AnswerLine(
        order=1, at_ms=2, test_id="t", status=None, events=0, bytes=0, ended="client_left"
    )
    for line in (request, answer):
        opened = RequestLog(log)
        opened.write(line)
        opened.close()
    assert read_log(log) == [request, answer]


def test_each_line_is_synced_before_write_returns(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        "proxy.scripted_upstream.log.os.fsync",
        lambda _file: synced.append((tmp_path / "log").read_bytes()),
    )
    log = RequestLog(tmp_path / "log")
    log.write(
        AnswerLine(order=1, at_ms=2, test_id=None, status=200, events=1, bytes=1, ended="complete")
    )
    log.close()
    assert [data.endswith(b"}\n") for data in synced] == [True]


def test_headers_are_sorted_by_name_without_case_then_value():
    assert sorted_headers([(b"b", b"2"), (b"A", b"\xe9"), (b"a", b"1")]) == (
        ("a", "1"),
        ("A", "\xe9"),
        ("b", "2"),
    )
