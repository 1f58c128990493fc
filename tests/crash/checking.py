"""Compares the three accounts of what happened: what clients received, what the upstream logged,
what the ledger booked.

The upstream's log decides what must be booked; what clients saw decides how much may be charged.
Findings are sentences with the request in them.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from proxy.ledger.sealing_key import read_key
from proxy.ledger.sqlite.verify import verify_chain
from proxy.scripted_upstream import AnswerLine, RequestLine, ScriptedAnswer, expected
from tests.crash.answers import told
from tests.crash.load import Sent

MARK_STEP_TOKENS = 512
UNMETERED = ("none", "rejected_upstream")
_COLUMNS = "id, end_user, kind, origin, outcome, status, stream, input_tokens, output_tokens, input_source, output_source, model_requested"


class Row(msgspec.Struct, frozen=True):
    """What a test needs of a record."""

    id: str
    end_user: str | None
    kind: str
    origin: str
    outcome: str
    status: int | None
    stream: int
    input_tokens: int | None
    output_tokens: int | None
    input_source: str
    output_source: str
    model_requested: str | None


@dataclass
class Tally:
    """What was checked, for the summary."""

    requests: int = 0  # sent by clients
    arrived: int = 0  # of them at the upstream
    records: int = 0
    recovered: int = 0  # records made at a restart, from marks
    saw_usage: int = 0  # clients that saw the usage event: charged equals it
    within_bounds: int = (
        0  # records of text that was cut or never reported, charged within the bounds
    )
    over_tokens_max: int = 0  # the most that was charged beyond what was delivered
    unsent: int = 0  # opened and killed before the bytes left: booked, never arrived
    refused: int = 0  # 503 before anything was sent


@dataclass
class Accounts:
    """One data directory and one upstream's log, read on as they grow."""

    data_dir: Path
    log: Path
    tally: Tally = field(default_factory=Tally)
    arrivals: Counter[str] = field(default_factory=Counter)
    answers: dict[str, AnswerLine] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    sent: dict[str, Sent] = field(default_factory=dict)
    _seq: int = 0
    _log_offset: int = 0
    _unfinished: set[int] = field(default_factory=set)

    def read_log(self) -> bool:
        """Reads on in the upstream's log; False while an answer is still being written."""
        with self.log.open("rb") as file:
            file.seek(self._log_offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._log_offset += len(whole)
        for raw in whole.splitlines():
            line = _LINE.decode(raw)
            if isinstance(line, RequestLine):
                if line.test_id is not None:
                    self.arrivals[line.test_id] += 1
                if line.complete:
                    self._unfinished.add(line.order)
            else:
                self._unfinished.discard(line.order)
                if line.test_id is not None:
                    self.answers[line.test_id] = line
        return not self._unfinished

    def check(self, sent: list[Sent], *, killed: bool = True, faulted: bool = False) -> list[str]:
        """Checks what is new since the last time; call it when the ledger has drained and the
        upstream is quiet.

        `killed`: processes died meanwhile. `faulted`: their journal refused entries, so that an end
        that a client saw may be booked from its marks.
        """
        findings: list[str] = []
        new: list[Row] = []
        self.sent |= {one.test_id: one for one in sent}
        for row in self._read_rows():
            if row.kind != "usage" or row.end_user is None or row.end_user in self.rows:
                findings.append(f"a second record or an adjustment: {row}")
                continue
            self.rows[row.end_user] = row
            new.append(row)
            findings += [
                f"{finding}\n  {self.sent.get(row.end_user)}\n  {row}"
                for finding in self._check_row(row, killed=killed, faulted=faulted)
            ]
        findings += [
            f"missing: arrived at the upstream and is not booked\n  {self.sent[id]}"
            for id in self.arrivals
            if id not in self.rows
        ]
        findings += [
            f"arrived {count} times at the upstream: {self.sent[id]}"
            for id, count in self.arrivals.items()
            if count > 1
        ]
        findings += [
            finding for one in sent for finding in self._check_client(one, faulted=faulted)
        ]
        self.tally.requests += len(sent)
        self.tally.arrived = len(self.arrivals)
        self.tally.records = len(self.rows)
        self.tally.recovered += sum(row.origin == "recovery" for row in new)
        self.tally.unsent = sum(id not in self.arrivals for id in self.rows)
        return findings

    def verify(self) -> list[str]:
        """The hash chain and its seals."""
        found = verify_chain(self.data_dir / "ledger.db", read_key(self.data_dir / "ledger.key"))
        problems = list(found.problems)
        if found.records != len(self.rows) or found.seals_of_other_keys:
            problems.append(f"{found} for {len(self.rows)} records")
        return problems

    def _read_rows(self) -> list[Row]:
        connection = sqlite3.connect(f"file:{self.data_dir / 'ledger.db'}?mode=ro", uri=True)
        with contextlib.closing(connection):
            found = connection.execute(
                f"SELECT seq, {_COLUMNS} FROM records WHERE seq > ? ORDER BY seq", (self._seq,)
            ).fetchall()
        if found:
            self._seq = found[-1][0]
        return [Row(*values[1:]) for values in found]

    def _check_client(self, sent: Sent, *, faulted: bool) -> list[str]:
        """What the client saw must be in the book."""
        row = self.rows.get(sent.test_id)
        if sent.refused is not None and sent.refused not in ("upstream_failed", "internal_error"):
            self.tally.refused += 1
            if (
                sent.answer.headers.get("x-should-retry") == "false"
            ):  # the journal failed behind the sending: told so, and charged
                return (
                    []
                    if row is not None
                    else [f"told that it is charged, and not booked\n  {sent}"]
                )
            return (
                []
                if row is None and sent.test_id not in self.arrivals
                else [f"refused ({sent.refused}) and yet sent or booked\n  {sent}\n  {row}"]
            )
        if row is not None and sent.answer.headers.get("x-tollkeeper-id", row.id) != row.id:
            return [f"the client was given another id\n  {sent}\n  {row}"]
        if sent.answer.whole and sent.refused is None and not faulted:
            if row is None:
                return [f"the client saw a whole answer that is not booked\n  {sent}"]
            wanted = (
                "rejected_upstream"
                if sent.answer.status != 200
                else "upstream_failed"
                if sent.told.error
                else "completed"
            )
            if row.outcome != wanted:
                return [
                    f"the client saw the whole answer, booked as {row.outcome}, not {wanted}\n  {sent}\n  {row}"
                ]
        return []

    def _check_row(self, row: Row, *, killed: bool, faulted: bool) -> list[str]:
        assert row.end_user is not None
        sent = self.sent.get(row.end_user)
        if sent is None:
            return ["booked for a request that no client made"]
        if row.end_user not in self.arrivals:
            # Opened, and dead (or, by a fault, given up) before the bytes left: recovery cannot
            # know, so it is booked with its input.
            between = (killed and sent.raw == b"") or (faulted and sent.refused == "internal_error")
            if not between or (row.outcome, row.output_tokens) != ("interrupted", 0):
                return ["booked although it never reached the upstream"]
        answer = expected(sent.body, sent.scene.endpoint)
        whole = told(answer.body, dict(answer.headers), whole=not answer.ending.value)
        says = sent.told if sent.answer.status == 200 else told(b"", {}, whole=False)
        findings = _check_input(row, sent, whole.running)
        output = row.output_tokens
        if output is None:
            return [*findings, "no output tokens booked"]
        if answer.status != 200:
            return findings if output == 0 else [*findings, "charged for an error"]
        if says.usage is not None:
            self.tally.saw_usage += 1
            if (row.input_tokens, output) != says.usage:
                findings.append(
                    f"the client saw the usage event {says.usage}, charged {row.input_tokens}, {output}"
                )
            if (
                not faulted
                and sent.answer.whole
                and not says.error
                and (row.input_source, row.output_source) != ("reported", "reported")
            ):
                findings.append(
                    "the client saw the whole answer with its usage, and it is not booked as reported"
                )
            return findings
        if row.output_source == "reported" or (row.input_source, output) == (
            "reported",
            whole.usage[1] if whole.usage is not None else None,
        ):
            # The proxy had read the usage when the client went, or it died: the vendor's own
            # measure, which says nothing of bytes.
            if whole.usage is None or output != whole.usage[1]:
                findings.append(f"booked as reported, but the upstream reports {whole.usage}")
            return findings
        return findings + self._check_bounds(row, sent, answer, says.measure, whole.running)

    def _check_bounds(
        self,
        row: Row,
        sent: Sent,
        answer: ScriptedAnswer,
        delivered: int,
        running: tuple[int, int] | None,
    ) -> list[str]:
        """delivered ≤ charged ≤ delivered + one chunk + 512, in tokens of the record's own
        measure."""
        assert row.output_tokens is not None
        handed_out = self._handed_out(sent, answer)
        # Between the upstream and the client lies at most the one chunk that the proxy had in hand.
        most = max(handed_out, delivered) + (
            MARK_STEP_TOKENS if row.outcome == "interrupted" else 0
        )
        if running is not None:
            most = max(most, running[1])  # a running total may say more than the text shows
        self.tally.within_bounds += 1
        self.tally.over_tokens_max = max(self.tally.over_tokens_max, row.output_tokens - delivered)
        if not delivered <= row.output_tokens <= most:
            return [
                f"delivered {delivered}, charged {row.output_tokens}, at most {most} (the upstream had written {handed_out})"
            ]
        if (
            sent.answer.whole
            and sent.refused is None
            and row.outcome == "completed"
            and row.output_tokens != delivered
        ):
            return [f"the whole answer has {delivered} tokens, charged {row.output_tokens}"]
        return []

    def _handed_out(self, sent: Sent, answer: ScriptedAnswer) -> int:
        """Tokens in what the upstream had handed to its connection; the event that was on its way
        when the connection broke included."""
        line = self.answers.get(sent.test_id)
        events = answer.events if line is None else answer.events[: line.events + 1]
        return told(
            b"".join(events),
            dict(answer.headers),
            whole=len(events) == len(answer.events) and not answer.ending.value,
        ).measure


def _check_input(row: Row, sent: Sent, stated: tuple[int, int] | None) -> list[str]:
    match row.input_source:
        case "reported":
            wanted = None if stated is None else stated[0]
        case "none":
            wanted = 0
        case _:
            wanted = -(-len(sent.body) // 4)
    return (
        []
        if row.input_tokens == wanted
        else [f"input {row.input_tokens} as {row.input_source}, not {wanted}"]
    )


_LINE = msgspec.json.Decoder(RequestLine | AnswerLine)
