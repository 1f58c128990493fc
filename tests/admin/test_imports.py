"""`POST /admin/v1/import`: rows are taken over together, and a dry run changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.admin.imports import IMPORT_PATH, ImportAnswer
from proxy.admin.tenant_views import Deeds
from proxy.admin.tenants import AUDIT_PATH
from proxy.cli.common import Failed
from proxy.tenants.importing import Imported, ImportOutcome
from tests.admin.test_tenants import desk

ROWS = [
    {"kind": "team", "name": "lab", "says": {"limits": ["5 requests/day"]}},
    {"kind": "key", "name": "bob", "says": {"team": "lab"}, "secret_sha256": "b" * 64},
    {"kind": "key", "name": "eve", "says": {"colour": "red"}, "secret_sha256": "e" * 64},
]


async def test_rows_are_made_once_and_their_deeds_name_who_did_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        for dry_run, outcome in (
            (True, ImportOutcome.MADE),
            (False, ImportOutcome.MADE),
            (False, ImportOutcome.KNOWN),
        ):
            order = {"rows": ROWS, "dry_run": dry_run, "reason": "ticket 7"}
            answer = await admin.ask("POST", IMPORT_PATH, order, ImportAnswer)
            assert answer.rows[:2] == [Imported(outcome, "lab"), Imported(outcome, "bob")]
            assert (
                answer.rows[2].outcome is ImportOutcome.REFUSED and "colour" in answer.rows[2].note
            )
        deeds = await admin.ask("GET", AUDIT_PATH, None, Deeds)
        made = [deed for deed in deeds.audit if deed.action.endswith(".create")]
        assert [(deed.name, deed.reason, deed.origin) for deed in made] == [
            ("lab", "ticket 7", "socket"),
            ("bob", "ticket 7", "socket"),
        ]


async def test_a_kind_that_is_none_is_told_with_those_that_are(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        order = {"rows": [{"kind": "user", "name": "x"}], "dry_run": True}
        with pytest.raises(Failed, match=r"'user' .*\(it is one of key, team\)"):
            await admin.ask("POST", IMPORT_PATH, order, ImportAnswer)
