"""The processes that share a ledger, as an operator sees them."""

from __future__ import annotations

import asyncio
import json

import pytest
import yaml

from proxy.ledger.postgresql.sharing import PostgresSharing
from tests.ledger.postgresql.books import books

CONFIG = {
    "data_dir": "var",
    "upstreams": {"one": {"base_url": "http://127.0.0.1/v1", "api_key": "k"}},
    "routes": [{"model": "*", "upstream": "one"}],
}


@pytest.mark.whole  # a server of its own
def test_a_silent_one_is_listed_and_forgotten(call, home):
    with books() as book:
        book.rows("SELECT 1")

        async def arrive() -> None:
            sharing = PostgresSharing(book.url)
            await sharing.arrive("proxy-2", "there")
            await sharing.aclose()

        asyncio.run(arrive())
        (home / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"ledger": {"url": book.url}}))
        [one] = json.loads(call("instance", "list", "--json").stdout)
        assert (one["name"], one["state"]) == ("proxy-2", "live")
        assert "proxy-2" in call("instance", "list").stdout
        refused = call("instance", "forget", "proxy-2")
        assert refused.exit_code == 1 and "proxy-2 lives" in refused.output
        book.do("UPDATE instances SET seen_at = seen_at - interval '1 minute'")
        assert (
            "proxy-2 is forgotten; it was lapsed." in call("instance", "forget", "proxy-2").output
        )
        assert "there is no instance 'proxy-2'" in call("instance", "forget", "proxy-2").output


def test_a_ledger_in_a_file_has_no_instances(call, home):
    (home / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    assert "one process's alone" in call("instance", "list").output
