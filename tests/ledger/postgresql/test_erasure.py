"""A role that only books may delete a salt, and nothing of the book."""

from __future__ import annotations

import pytest

from proxy.ledger.postgresql.connection import opened
from proxy.ledger.postgresql.erasure import erase
from proxy.ledger.postgresql.schema import allow
from tests.ledger.contract.test_erasure import DEED
from tests.ledger.postgresql.test_schema import migrated
from tests.ledger.samples import KEY
from tests.support.postgres import postgres

pytestmark = pytest.mark.whole


def test_the_role_that_books_may_delete_salts() -> None:
    with migrated() as owner:
        owner.execute("DROP ROLE IF EXISTS eraser; CREATE ROLE eraser LOGIN")
        allow(owner, "eraser")
        owner.execute("INSERT INTO end_users VALUES ('a', 'salt')")
        url = postgres().url(owner.info.dbname, "eraser")
        with opened(url, writes=True) as clerk, clerk.transaction():
            assert erase(clerk, KEY, "a", DEED, kept=None, known=False)
        assert owner.execute("SELECT count(*) FROM end_users").fetchone() == (0,)
        owner.execute("DROP OWNED BY eraser")
