"""What is charged when: the table of the design, row by row, in figures. Each row: what happened ->
what the book says."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.entries import Marked, Opened
from proxy.core.pricing.amounts import NoPrices, Priced
from proxy.core.records.ending import Ending, How
from proxy.core.records.settlement import at_its_bound, recovered, settle, weaker
from proxy.core.usage import Outcome, Source, Usage

UNPRICED = NoPrices()
OPENED = Opened(
    id="id",
    started_at_ms=1_000,
    key_id="alice",
    endpoint="/v1/chat/completions",
    upstream="modelmax",
    stream=True,
    bytes_in=400,
    input_estimate=100,
)
STATED = Usage(
    input_tokens=70,
    cached_tokens=20,
    output_tokens=30,
    reasoning_tokens=5,
    raw={"prompt_tokens": 70},
    upstream_cost_nano=140_000,
)
ZERO = Usage(input_tokens=0, output_tokens=0)
ONLY_INPUT = Usage(input_tokens=70)
ONLY_OUTPUT = Usage(output_tokens=30)
NOTHING_STATED = None

# The upstream's input estimate is 100 in every row. "final": `now` is a running total that no text
# came behind. "delivered" is in tokens of the record's own measure.
# ending                      status  stated          final  delivered  [DONE]     input  output  in
# out        source     outcome
TABLE = """
no_head                       -       -               -      0          -          0      0       none      none       none       upstream_failed

answered                      200     STATED          yes    25         yes        70     30      reported  reported   reported   completed
answered                      200     STATED          now    25         no         70     30      reported  reported   reported   completed
answered                      200     STATED          no     25         no         70     30      reported  estimated  estimated  completed
answered                      200     STATED          no     44         yes        70     44      reported  estimated  estimated  completed
answered                      200     ZERO            yes    25         yes        100    25      estimated estimated  estimated  completed
answered                      200     ZERO            no     25         yes        100    25      estimated estimated  estimated  completed
answered                      200     ZERO            yes    0          yes        100    0       estimated reported   estimated  completed
answered                      200     NO_PROMPT       yes    25         yes        100    30      estimated reported   estimated  completed
answered                      200     NO_PROMPT       yes    0          yes        100    30      estimated reported   estimated  completed
answered                      200     NO_TEXT         yes    25         yes        70     25      reported  estimated  estimated  completed
answered                      200     TOTAL           yes    25         yes        40     10      estimated estimated  estimated  completed
answered                      200     TOTAL           no     25         yes        100    25      estimated estimated  estimated  completed
answered                      200     HIGH_TOTAL      no     25         yes        400    100     estimated estimated  estimated  completed
answered                      200     ONLY_INPUT      yes    25         yes        70     25      reported  estimated  estimated  completed
answered                      200     ONLY_OUTPUT     yes    25         yes        100    30      estimated reported   estimated  completed
answered                      200     -               -      25         yes        100    25      estimated estimated  estimated  completed
answered                      200     -               -      0          no         100    0       estimated estimated  estimated  completed

answered                      429     -               -      25         no         0      0       none      none       none       rejected_upstream
answered                      400     STATED          yes    0          no         70     30      reported  reported   reported   rejected_upstream
answered                      500     ZERO            yes    9          no         0      0       reported  reported   reported   rejected_upstream
answered                      302     -               -      9          no         0      0       none      none       none       rejected_upstream
upstream_cut                  503     -               -      9          no         0      0       none      none       none       rejected_upstream
error_event                   422     -               -      9          no         0      0       none      none       none       rejected_upstream

upstream_cut                  200     -               -      25         no         100    25      estimated partial    partial    upstream_failed
upstream_cut                  200     STATED          no     25         no         70     30      reported  partial    partial    upstream_failed
upstream_cut                  200     STATED          no     44         no         70     44      reported  partial    partial    upstream_failed
upstream_cut                  200     STATED          now    44         no         70     30      reported  partial    partial    upstream_failed
upstream_cut                  200     STATED          yes    44         no         70     30      reported  partial    partial    upstream_failed
upstream_cut                  200     ZERO            no     9          no         100    9       estimated partial    partial    upstream_failed
upstream_cut                  200     ZERO            yes    9          no         100    9       estimated partial    partial    upstream_failed
upstream_cut                  200     TOTAL           now    25         no         40     10      estimated partial    partial    upstream_failed
upstream_cut                  200     ONLY_INPUT      yes    9          no         70     9       reported  partial    partial    upstream_failed
upstream_cut                  200     ONLY_OUTPUT     yes    9          no         100    30      estimated partial    partial    upstream_failed
error_event                   200     -               -      25         no         100    25      estimated partial    partial    upstream_failed
error_event                   200     -               -      25         yes        100    25      estimated partial    partial    upstream_failed
error_event                   200     STATED          no     44         yes        70     44      reported  partial    partial    upstream_failed

client_left                   -       -               -      0          no         100    0       estimated partial    partial    client_closed
client_left                   200     -               -      0          no         100    0       estimated partial    partial    client_closed
client_left                   200     -               -      25         no         100    25      estimated partial    partial    client_closed
client_left                   200     STATED          no     25         no         70     30      reported  partial    partial    client_closed
client_left                   200     STATED          no     44         no         70     44      reported  partial    partial    client_closed
client_left                   200     STATED          yes    44         no         70     30      reported  partial    partial    client_closed
client_left                   200     ZERO            yes    9          no         100    9       estimated partial    partial    client_closed
client_left                   429     -               -      9          no         0      0       none      none       none       client_closed
client_left                   200     STATED          yes    25         yes        70     30      reported  reported   reported   completed
client_left                   200     -               -      25         yes        100    25      estimated estimated  estimated  completed

client_left_drained           200     STATED          yes    25         no         70     30      reported  reported   reported   client_closed
client_left_drained           200     STATED          yes    25         yes        70     30      reported  reported   reported   client_closed
client_left_drained           200     -               -      25         yes        100    25      estimated estimated  estimated  client_closed
client_left_drained           500     -               -      25         no         0      0       none      none       none       client_closed

cut                           200     -               -      25         no         100    25      estimated partial    partial    cut
cut                           200     STATED          no     44         no         70     44      reported  partial    partial    cut
cut                           200     STATED          yes    44         no         70     30      reported  partial    partial    cut

interrupted                   -       -               -      0          no         100    0       estimated estimated  estimated  interrupted
interrupted                   200     -               -      25         no         100    25      estimated estimated  estimated  interrupted
interrupted                   200     STATED          no     44         no         70     44      reported  estimated  estimated  interrupted
interrupted                   200     STATED          yes    44         no         70     30      reported  reported   reported   interrupted
interrupted                   500     -               -      9          no         0      0       none      none       none       interrupted
"""
NO_PROMPT, NO_TEXT, TOTAL = (
    Usage(input_tokens=0, output_tokens=30),
    Usage(input_tokens=70, output_tokens=0),
    Usage(total_tokens=50),
)
USAGES = {
    "STATED": STATED,
    "ZERO": ZERO,
    "NO_PROMPT": NO_PROMPT,
    "NO_TEXT": NO_TEXT,
    "TOTAL": TOTAL,
    "HIGH_TOTAL": Usage(total_tokens=500),
    "ONLY_INPUT": ONLY_INPUT,
    "ONLY_OUTPUT": ONLY_OUTPUT,
    "-": NOTHING_STATED,
}
ROWS = [line.split() for line in TABLE.splitlines() if line.strip()]


@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_every_row_of_the_table(row: list[str]) -> None:
    how, status, stated, final, delivered, done, *expected = row
    ending = Ending(
        how=How(how),
        status=None if status == "-" else int(status),
        usage=USAGES[stated],
        usage_final=final == "yes",
        usage_current=final == "now",
        output_measure=int(delivered),
        done=done == "yes",
    )
    record = settle(OPENED, ending, "w0", UNPRICED)
    booked = [
        record.input_tokens,
        record.output_tokens,
        record.input_source,
        record.output_source,
        record.source,
        record.outcome,
    ]
    assert [str(value) for value in booked] == expected


def test_the_table_has_every_ending() -> None:
    assert {row[0] for row in ROWS} == set(How)
    assert {row[-1] for row in ROWS} == set(Outcome)


def test_whatever_happened_one_record_that_adds_up() -> None:
    """All combinations: never less than what was stated or delivered by the rules, and the parts
    only beside the usage they belong to."""
    statuses, usages, flags = (
        (None, 200, 206, 302, 404, 500),
        (None, STATED, ZERO, ONLY_INPUT, ONLY_OUTPUT),
        (False, True),
    )
    for how, status, usage, final, done in itertools.product(How, statuses, usages, flags, flags):
        record = settle(
            OPENED,
            Ending(
                how=how, status=status, usage=usage, usage_final=final, output_measure=25, done=done
            ),
            "w0",
            UNPRICED,
        )
        charged_ok = status is None or status in range(200, 300)
        assert record.input_tokens is not None
        assert record.output_tokens is not None
        assert record.source == max(
            (record.input_source, record.output_source), key=list(Source).index
        )
        if how is How.NO_HEAD or (not charged_ok and usage is None):
            assert (record.input_tokens, record.output_tokens, record.source) == (0, 0, Source.NONE)
        elif charged_ok and (usage is None or usage.output_tokens is None):
            assert record.output_tokens == 25
        if record.source is Source.REPORTED:
            assert usage is not None
            assert (record.input_tokens, record.output_tokens) == (
                usage.input_tokens,
                usage.output_tokens,
            )
        if record.usage_raw is not None:
            assert record.usage_raw is STATED.raw
            assert (record.cached_tokens, record.reasoning_tokens, record.upstream_cost_nano) == (
                20,
                5,
                140_000,
            )


# 2xx and no answer (yes: one came; no: what came is none; -: nothing tells), an estimate of 9
# delivered -> input, output, source, outcome.
WITHOUT_ANSWER = """
answered              -    -       yes    0    0    none       upstream_failed
answered              -    -       no     0    0    none       upstream_failed
answered              no   -       no     0    0    none       upstream_failed
answered              no   ZERO    yes    0    0    none       upstream_failed
answered              no   STATED  no     70   30   reported   completed
answered              no   TOTAL   no     50   0    estimated  completed
answered              yes  ZERO    no     100  0    estimated  completed
answered              yes  -       no     100  9    estimated  completed
error_event           no   -       no     0    0    none       upstream_failed
error_event           no   ZERO    no     0    0    none       upstream_failed
error_event           no   STATED  no     70   30   partial    upstream_failed
upstream_cut          -    -       no     0    0    none       upstream_failed
upstream_cut          yes  -       no     100  9    partial    upstream_failed
client_left           -    -       no     100  0    partial    client_closed
client_left           no   -       no     0    0    none       client_closed
client_left           yes  -       no     100  9    partial    client_closed
client_left           -    -       yes    0    0    none       upstream_failed
client_left_drained   -    -       no     0    0    none       client_closed
client_left_drained   no   -       no     0    0    none       client_closed
cut                   -    -       no     100  0    partial    cut
cut                   no   -       no     0    0    none       cut
interrupted           -    -       no     100  0    estimated  interrupted
interrupted           no   -       no     0    0    none       interrupted
"""


@pytest.mark.parametrize(
    "row", [line.split() for line in WITHOUT_ANSWER.splitlines() if line.strip()], ids=" ".join
)
def test_what_is_no_answer_costs_nothing(row: list[str]) -> None:
    how, answered, stated, done, *expected = row
    delivered = 9 if answered == "yes" and stated != "ZERO" else 0
    ending = Ending(
        how=How(how), status=200, usage=USAGES[stated], usage_final=stated != "-", done=done == "yes", output_measure=delivered,
        answered={"yes": True, "no": False, "-": None}[answered],
    )  # fmt: skip
    asked = Asked()
    record = settle(OPENED, ending, "w0", asked)
    assert [
        str(value)
        for value in (record.input_tokens, record.output_tokens, record.source, record.outcome)
    ] == expected
    assert asked.names["status"] == (None if record.source is Source.NONE else 200), (
        "no fee for what is no answer"
    )
    assert not record.inconsistent


@pytest.mark.parametrize(
    ("how", "finish", "expected"),
    [
        (How.ANSWERED, "stop", (100, 0, "estimated")),
        (How.ANSWERED, "tool_calls", (100, 0, "estimated")),
        (How.ANSWERED, None, (100, 0, "estimated")),
        (How.ANSWERED, "content_filter", (0, 0, "reported")),
        (How.ERROR_EVENT, "error", (0, 0, "partial")),
    ],
)
def test_what_answered_without_a_word_has_read_its_prompt(
    how: How, finish: str | None, expected: tuple[int, int, str]
) -> None:
    """Zeros beside a call without arguments are as little a count as beside text; beside what a
    filter withheld, or beside an error, they may well be the bill."""
    ending = Ending(how=how, status=200, usage=ZERO, usage_final=True, finish_reason=finish)
    record = settle(OPENED, ending, "w0", UNPRICED)
    assert (record.input_tokens, record.output_tokens, str(record.source)) == expected


@pytest.mark.parametrize(
    ("usage", "current", "final", "output"),
    [
        (None, False, False, 500),
        (STATED, True, False, 500),
        (STATED, False, False, 500),
        (ONLY_INPUT, True, False, 500),
        (STATED, True, True, 30),
    ],
    ids=[
        "nothing stated",
        "a running total",
        "a total before the text",
        "only the input",
        "the final total",
    ],
)
def test_leaving_what_nobody_reads_on_is_charged_what_was_held(
    usage: Usage | None, current: bool, final: bool, output: int
) -> None:
    """A running total counts what has come; what the vendor makes after the client has left is in
    the final one alone."""
    ending = Ending(
        how=How.CLIENT_LEFT,
        status=200,
        usage=usage,
        usage_current=current,
        usage_final=final,
        output_measure=25,
        output_held=500,
    )
    record = settle(OPENED, ending, "w0", UNPRICED)
    assert (record.output_tokens, record.output_source, record.outcome) == (
        output,
        Source.PARTIAL,
        Outcome.CLIENT_CLOSED,
    )


# A process that died: its marks in order as (output tokens, stated, final, status) -> input,
# output, source, status
MARKS = [
    ("no mark: it died before any answer", [], (100, 0, "estimated", None)),
    (
        "marks of text only",
        [(512, None, False, 200), (1024, None, False, None)],
        (100, 1024, "estimated", 200),
    ),
    (
        "the final usage was marked",
        [(512, None, False, 200), (512, STATED, True, 200)],
        (70, 30, "reported", 200),
    ),
    ("no answer read nothing", [(0, ZERO, True, 200)], (100, 0, "estimated", 200)),
    ("nor beside text", [(512, ZERO, True, 200)], (100, 512, "estimated", 200)),
    (
        "nor before it",
        [(0, ZERO, True, 200), (512, ZERO, False, 200)],
        (100, 512, "estimated", 200),
    ),
    ("a total alone", [(25, Usage(total_tokens=50), True, 200)], (40, 10, "estimated", 200)),
    (
        "a running total, then more text",
        [(512, STATED, False, 200), (1024, STATED, False, 200)],
        (70, 1024, "estimated", 200),
    ),
    ("a running total above the text", [(20, STATED, False, 200)], (70, 30, "estimated", 200)),
    (
        "the last usage counts",
        [(512, ZERO, False, 200), (512, STATED, True, 200), (512, None, False, None)],
        (70, 30, "reported", 200),
    ),
    ("marks of an error are not charged", [(512, None, False, 500)], (0, 0, "none", 500)),
]


@pytest.mark.parametrize(
    ("marks", "expected"), [row[1:] for row in MARKS], ids=[row[0] for row in MARKS]
)
def test_a_process_that_died_is_settled_from_its_marks(
    marks: list[tuple[int, Usage | None, bool, int | None]], expected: tuple[object, ...]
) -> None:
    written = [
        Marked(
            id="id", output_tokens=tokens, usage=usage, final=final, status=status, model_served="m"
        )
        for tokens, usage, final, status in marks
    ]
    record = recovered(OPENED, written, "w0", 4_500, UNPRICED)
    assert (record.input_tokens, record.output_tokens, record.source, record.status) == expected
    assert (record.outcome, record.origin, record.duration_ms) == (
        Outcome.INTERRUPTED,
        "recovery",
        3_500,
    )
    assert record.model_served == ("m" if marks else None)
    assert record.upstream_cost_nano == (
        140_000 if any(mark.usage is STATED for mark in written) else None
    )
    assert recovered(OPENED, written, "w0", 0, UNPRICED).duration_ms == 0


def test_a_record_carries_what_was_known_at_the_start_and_at_the_end() -> None:
    opened = Opened(
        id="018f", started_at_ms=5, key_id="k", team="t", labels={"cost_center": "4711"}, end_user="u", tags={"feature": "x"}, endpoint="/v1/embeddings",
        dialect="openai_chat", upstream="up", upstream_account="acc", model_requested="m", stream=True, client_retry_count=2, bytes_in=9, input_estimate=3,
    )  # fmt: skip
    usage = Usage(1, 2, 3, 4, 5, 6, 7, True, {"prompt_tokens": 1}, 140_000)
    ending = Ending(
        how=How.ANSWERED, status=200, usage=usage, usage_final=True, output_measure=8, done=True, duration_ms=10, first_byte_ms=0, bytes_out=11, chunks=12,
        model_served="m-2", finish_reason="stop", upstream_request_id="r" * 999, service_tier="flex",
    )  # fmt: skip
    record = settle(opened, ending, "w7", UNPRICED)
    for name in opened.__struct_fields__:
        if name not in ("input_estimate", "tier_asked", "images", "charge_class", "model_sent"):
            assert getattr(record, name) == getattr(opened, name), name
    for name in (
        "status",
        "duration_ms",
        "first_byte_ms",
        "bytes_out",
        "chunks",
        "model_served",
        "finish_reason",
        "service_tier",
    ):
        assert getattr(record, name) == getattr(ending, name), name
    for name in (
        "input_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "output_tokens",
        "reasoning_tokens",
        "audio_input_tokens",
        "audio_output_tokens",
        "inconsistent",
        "upstream_cost_nano",
    ):
        assert getattr(record, name) == getattr(usage, name), name
    assert (record.writer, record.origin, record.kind, record.usage_raw) == (
        "w7",
        "proxy",
        "usage",
        {"prompt_tokens": 1},
    )
    assert record.upstream_request_id == "r" * 256
    assert (record.cost_nano, record.charge_nano, record.currency) == (None, None, None)


def test_the_weaker_source_of_two_is_the_same_either_way() -> None:
    order = [Source.REPORTED, Source.COUNTED, Source.ESTIMATED, Source.PARTIAL, Source.NONE]
    for one, other in itertools.product(order, order):
        assert weaker(one, other) is order[max(order.index(one), order.index(other))]


@pytest.mark.parametrize(
    ("status", "usage", "unread", "inconsistent"),
    [
        (200, None, True, True),
        (200, None, False, False),
        (200, STATED, True, False),
        (502, None, True, False),
    ],
)
def test_an_estimate_that_may_miss_something_is_marked(
    status: int, usage: Usage | None, unread: bool, inconsistent: bool
) -> None:
    """A gateway's page with an error status is no estimate: nothing is charged for it."""
    ending = Ending(
        how=How.ANSWERED,
        status=status,
        usage=usage,
        usage_final=True,
        output_measure=5,
        unread=unread,
    )
    assert settle(OPENED, ending, "w0", UNPRICED).inconsistent is inconsistent


def test_what_a_dead_process_cannot_tell_is_unknown() -> None:
    record = recovered(OPENED, [], "w0", OPENED.started_at_ms + 5, UNPRICED)
    assert (
        record.bytes_out,
        record.chunks,
        record.first_byte_ms,
        record.duration_ms,
        record.origin,
    ) == (None, None, None, 5, "recovery")


def test_what_is_lost_with_its_journal_is_charged_what_was_held() -> None:
    record = at_its_bound(OPENED, 700, "w0", 1_500, UNPRICED)
    assert (record.input_tokens, record.output_tokens) == (OPENED.input_estimate, 700)
    assert (record.outcome, record.origin, record.source) == (
        Outcome.INTERRUPTED,
        "forgotten",
        Source.ESTIMATED,
    )
    assert (record.status, record.duration_ms, record.writer) == (None, 1_500, "w0")
    assert at_its_bound(OPENED, 700, "w0", 1_500, UNPRICED) == record
    assert at_its_bound(OPENED, 0, "w0", 0, UNPRICED).output_tokens == 0


class Asked:
    """Pricing that says what it was asked, and one amount."""

    def __init__(self) -> None:
        self.counts: tuple[object, ...] = ()
        self.names: dict[str, object] = {}

    def price(self, counts: object, **names: object) -> Priced:
        self.counts = tuple(
            getattr(counts, f"{part}_tokens")
            for part in (
                "input",
                "cached",
                "cache_write",
                "audio_input",
                "output",
                "reasoning",
                "audio_output",
            )
        )
        self.names = names
        return Priced(1, 2, "USD", "0123456789abcdef", "glob*", "CNY", 3, "0.14")


def test_what_is_charged_is_what_is_priced():
    """The counts of the record itself, not those that an answer broken off had stated; and the
    record says what it was priced by."""
    asked = Asked()
    opened = msgspec.structs.replace(OPENED, team="research", model_requested="m", images=2)
    ending = Ending(
        how=How.UPSTREAM_CUT,
        status=200,
        usage=STATED,
        usage_final=False,
        output_measure=44,
        model_served="s" * 300,
        service_tier="flex",
    )
    record = settle(opened, ending, "w0", asked)
    assert (
        asked.counts
        == (70, 20, None, None, 44, 5, None)
        == (
            record.input_tokens,
            record.cached_tokens,
            None,
            None,
            record.output_tokens,
            record.reasoning_tokens,
            None,
        )
    )
    assert asked.names == {
        "upstream": "modelmax",
        "team": "research",
        "model_requested": "m",
        "model_served": record.model_served,
        "service_tier": "flex",
        "started_at_ms": 1_000,
        "status": 200,
        "images": 2,
        "charge_class": None,
    }
    priced = (
        record.cost_nano,
        record.charge_nano,
        record.currency,
        record.price_version,
        record.price_model,
        record.price_currency,
        record.cost_original_nano,
        record.fx_rate,
    )
    assert priced == (1, 2, "USD", "0123456789abcdef", "glob*", "CNY", 3, "0.14")
    assert recovered(opened, [], "w0", 4_500, asked).charge_nano == 2
    assert (asked.counts[:1], asked.names["images"]) == ((100,), 2)


class Tiers:
    """Prices by service tier alone: None is the usual price; a tier that has no price of its own
    costs the usual one."""

    def __init__(self, **charges: int | None) -> None:
        self.charges = charges

    def price(self, counts: object, *, service_tier: str | None, **names: object) -> Priced:
        charge = self.charges.get(service_tier or "usual", self.charges["usual"])
        return Priced(charge, charge, "USD")


# asked for, in the answer -> charge, tier of the record, flagged
TIERS = """
-         -         10   -         no
-         priority  20   priority  no
priority  priority  20   priority  no
priority  default   10   default   no
priority  -         20   priority  yes
flex      -         10   -         yes
flex      flex      5    flex      no
other     -         10   -         no
unknown   -         -    unknown   yes
"""


@pytest.mark.parametrize(
    "row", [line.split() for line in TIERS.splitlines() if line.strip()], ids=" ".join
)
def test_the_tier_is_the_answers_or_else_the_dearer_of_asked_and_usual(row: list[str]) -> None:
    asked, served, charge, tier, flagged = (None if word == "-" else word for word in row)
    opened = msgspec.structs.replace(OPENED, tier_asked=asked)
    ending = Ending(
        how=How.ANSWERED, status=200, usage=STATED, usage_final=True, service_tier=served
    )
    record = settle(opened, ending, "w0", Tiers(usual=10, priority=20, flex=5, unknown=None))
    assert (record.charge_nano, record.service_tier, record.inconsistent) == (
        None if charge is None else int(charge),
        tier,
        flagged == "yes",
    )
    marked = recovered(
        opened,
        [Marked(id="id", usage=STATED, final=True, status=200)],
        "w0",
        4_500,
        Tiers(usual=10, priority=20, flex=5, unknown=None),
    )
    assert served is not None or (marked.charge_nano, marked.service_tier) == (
        record.charge_nano,
        tier,
    ), "recovery knows what was asked for"


@given(
    st.builds(
        Usage,
        *[st.none() | st.integers(0, 90)] * 7,
        total_tokens=st.none() | st.integers(0, 90),
    ),
    st.booleans(),
    st.booleans(),
    st.none() | st.booleans(),
    st.integers(0, 50),
    st.sampled_from([200, 204, 302, 404, None]),
)
def test_an_answer_read_to_its_end_is_charged_alike_whoever_was_there_to_read_it(
    usage: Usage,
    current: bool,
    final: bool,
    answered: bool | None,
    measure: int,
    status: int | None,
) -> None:
    """The usual answer has a short way through the table; what was drained goes the whole one."""
    one, other = (
        settle(
            OPENED,
            Ending(
                how=how,
                status=status,
                usage=usage,
                usage_current=current,
                usage_final=final,
                answered=answered,
                output_measure=measure,
            ),
            "w",
            UNPRICED,
        )
        for how in (How.ANSWERED, How.CLIENT_LEFT_DRAINED)
    )
    outcome = {Outcome.COMPLETED: Outcome.CLIENT_CLOSED}.get(one.outcome, other.outcome)
    assert msgspec.structs.replace(one, outcome=outcome) == other
