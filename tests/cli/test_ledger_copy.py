"""`tollkeeper ledger copy`: what it says, and that a refusal names its reason."""

from __future__ import annotations

import json

import pytest

from tests.ledger.samples import make_record
from tests.support.postgres import postgres

pytestmark = pytest.mark.whole  # a server of its own


def test_a_ledger_is_copied_once_and_the_database_then_read_in_its_place(call, book, home):
    book(make_record(0), make_record(1, cost_nano=5, charge_nano=2_500_000_000, currency="USD"))
    before = call("usage", "--json").stdout
    url = postgres().database()
    result = call("ledger", "copy", "--to", url)
    assert result.exit_code == 0, result.output
    lines = dict(line.split("  ", 1) for line in result.stdout.splitlines() if "  " in line)
    found = {name: value.strip() for name, value in lines.items()}
    assert found["records"] == "2, with the hashes they had"
    assert (found["requests"], found["charges"], found["seals"]) == ("2", "2.50 USD", "1")
    assert "ledger.url" in result.stdout
    again = call("ledger", "copy", "--to", url)
    assert again.exit_code == 1 and "is not empty, it has rows in heads" in again.output
    with (home / "config.yaml").open("a") as config:
        config.write(f"ledger: {{url: '{url}'}}\n")
    assert call("usage", "--json").stdout == before
    assert call("record", "show", make_record(1).id).exit_code == 0
    exported = call("ledger", "export", "--format", "jsonl").stdout
    assert len(exported.splitlines()) == 2
    refused = call("ledger", "copy", "--to", url)
    assert refused.exit_code == 1 and "is copied from sqlite:FILE to postgresql" in refused.output


def test_a_directory_is_copied_without_a_config_and_told_as_json(call, book, home, monkeypatch):
    data_dir = book(make_record(0))
    (home / "config.yaml").unlink()
    monkeypatch.setenv("TOLLKEEPER_COPY_TO", postgres().database())
    result = call("ledger", "copy", "--data-dir", str(data_dir), "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["rows"]["records"], found["last_seq"], found["requests"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("postgresql://app:s3cret@127.0.0.1:1/db", "Connection refused"),
        ("postgresql://app:s3/cret@host/db", "is not a URL such as postgresql://USER"),
        ("mysql://app:s3cret@host/db", "is copied from sqlite:FILE to postgresql://"),
    ],
)
def test_a_refusal_says_why_and_no_password(call, book, to, said):
    book(make_record(0))
    result = call("ledger", "copy", "--to", to)
    assert result.exit_code == 1 and said in result.output and "s3" not in result.output


def test_without_a_ledger_there_is_nothing_to_copy(call):
    result = call("ledger", "copy", "--to", "postgresql://host/db")
    assert result.exit_code == 1 and "there is no ledger at" in result.output
