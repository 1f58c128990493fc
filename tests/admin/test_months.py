"""Months are sealed and records proved over the admin API."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.admin.months import PROOF_PATH, SEAL_PATH, SealedMonths
from proxy.cli.common import Failed
from tests.admin.test_books import shelf, some
from tests.admin.test_tenants import desk
from tests.cli.test_ledger_seal import long_ago
from tests.ledger.samples import make_id


async def test_a_sealed_record_has_a_proof_and_others_say_why_not(tmp_path: Path) -> None:
    async with desk(tmp_path):
        pass
    long_ago(tmp_path / "var")
    async with shelf(tmp_path) as shown:
        await shown.book(*some(1, 1))
        path = PROOF_PATH.format(id=make_id(500))
        assert (await shown.get(path)).status == 409
        done = await shown.admin.ask("POST", SEAL_PATH, {}, type=SealedMonths)
        assert [(month.month, month.last_seq) for month in done.sealed] == [("2026-10", 5)]
        proof = json.loads((await shown.get(path)).body)
        assert (proof["size"], proof["checkpoint"]) == (5, done.sealed[0].checkpoint)
        page = await shown.get(PROOF_PATH.format(id=make_id(1)))
        assert (page.status, json.loads(page.body)["error"]["code"]) == (409, "not_sealed")
        assert (await shown.get(PROOF_PATH.format(id="none"))).status == 404


async def test_a_key_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    async with shelf(tmp_path) as shown:
        (tmp_path / "var" / "ledger.ed25519.pem").write_text("no key")
        with pytest.raises(Failed, match="restore it from a backup"):
            await shown.admin.ask("POST", SEAL_PATH, {}, type=SealedMonths)
