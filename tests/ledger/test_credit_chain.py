"""The chain of credits, without a database: each is linked, and what was changed is found."""

from __future__ import annotations

import msgspec

from proxy.core.limits.credit import Credit
from proxy.ledger.credit_chain import LINK_COLUMNS, first_links, link, verified
from tests.ledger.samples import KEY

ONE, OTHER = (msgspec.structs.astuple(Credit(id, "limit", 5, 1)) for id in ("a", "b"))
NONE = (None,) * len(ONE)


def test_a_chain_goes_on_where_it_began() -> None:
    [begin] = first_links([], 7, KEY)
    assert len(begin) == len(LINK_COLUMNS)
    assert isinstance(begin[4], bytes)
    rows = [(*begin, *NONE), (*link(1, 8, begin[4], ONE, KEY), *ONE)]
    step = verified(rows, [], KEY)
    assert (step.rows, step.seals, step.found) == (1, 2, 0)
    assert verified(rows[:1], [], KEY).rows == verified([], [], KEY).rows == 0
    assert verified(rows, [], KEY).notes == []


def test_what_was_there_before_is_told_and_what_was_changed_is_found() -> None:
    links = list(first_links([(1, ONE), (2, OTHER)], 7, KEY))
    rows = [(*links[0], *NONE), (*links[1], *ONE), (*links[2], *OTHER)]
    step = verified(rows, [], KEY)
    assert (step.rows, step.found) == (2, 0)
    assert step.notes[0].startswith("credits up to seq 2 were chained on 1970-01-01")
    more = (*OTHER[:2], 50, *OTHER[3:])
    assert verified([*rows[:2], (*links[2], *more)], [], KEY).found == 1
    gone = verified([*rows[:2], (*links[2], *NONE)], [], KEY)
    assert (gone.rows, gone.found) == (1, 1)
    beside = verified(rows, [(3, "c")], KEY)
    assert beside.rows == 3
    assert beside.findings[-1].what == ("credit seq 3 id 'c': it was put in beside the chain")
