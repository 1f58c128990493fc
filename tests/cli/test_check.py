"""`tollkeeper check`."""

import json
from pathlib import Path

import pytest
import yaml

from tests.clients.deployment import process
from tests.support.postgres import postgres


def test_the_effective_config_is_a_config_and_hides_secrets(call):
    result = call("check")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("# config.yaml: valid. In effect:\n")
    effective = yaml.safe_load(result.stdout)
    assert effective["timezone"] == "Asia/Shanghai"
    assert effective["timeouts"]["connect"] == "10s"
    assert effective["upstreams"]["scripted"]["api_key"] == "***"
    assert "canary" not in result.output
    assert json.loads(call("check", "--json", "-c", "config.yaml").stdout) == effective


def test_warnings_go_to_stderr_and_do_not_fail(call):
    result = call("check", "--json")
    assert result.exit_code == 0
    assert "Warning: keys: none has a secret" in result.stderr
    assert json.loads(result.stdout)


def test_quiet_leaves_warnings_and_errors_alone(call, home):
    result = call("check", "--quiet")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("Warning: keys: none has a secret")
    assert "Note:" in call("check").stderr and "Note:" not in result.stderr
    config = home / "config.yaml"
    config.write_text(config.read_text() + "listne: 127.0.0.1:1\n")
    assert call("check", "--quiet").exit_code == 1
    assert call("check", "--quiet", "--json").exit_code == 2


def test_all_problems_are_named_at_once(call, home):
    config = home / "config.yaml"
    config.write_text(
        config.read_text().replace("Asia/Shanghai", "Nowhere/Else") + "listne: 127.0.0.1:1\n"
    )
    result = call("check")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "2 problems:" in result.stderr
    assert "listne" in result.stderr
    assert "listen" in result.stderr
    assert "Nowhere/Else" in result.stderr


def test_one_problem_stands_alone_and_no_config_is_one(call, home):
    config = home / "config.yaml"
    config.write_text(config.read_text() + "listne: 127.0.0.1:1\n")
    assert "problems:" not in call("check").stderr
    missing = call("check", "-c", "nowhere.yaml")
    assert missing.exit_code == 1
    assert "nowhere.yaml" in missing.stderr


def test_the_schema_for_editors_is_the_one_that_is_shipped(call):
    shipped = (Path(__file__).parents[2] / "docs" / "config.schema.json").read_text(
        encoding="utf-8"
    )
    assert call("check", "--schema").stdout == shipped, (
        "run: tollkeeper check --schema > docs/config.schema.json"
    )


@pytest.fixture
def upstream(tmp_path: Path):
    """The scripted upstream as a process of its own: the command runs a loop itself."""
    with process(
        tmp_path,
        "upstream",
        "-m",
        "proxy.scripted_upstream",
        "--port",
        "0",
        ready=r"ready on (\S+)",
    ) as base_url:
        yield base_url


def test_connect_says_what_each_upstream_does_and_what_to_set(call, home, upstream):
    config = home / "config.yaml"
    config.write_text(
        f"upstreams:\n  one: {{base_url: {upstream}, api_key: sk-canary}}\n  two: {{base_url: {upstream}}}\n"
        "routes:\n  - {model: gpt-4o, upstream: one}\n  - {model: '*', upstream: two}\n"
    )
    result = call("check", "--connect", "--upstream", "one")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("one: can be used\n  It lists ")
    assert "Set upstreams.one.stream_usage: inject" in result.stdout
    assert "two:" not in result.output and "canary" not in result.output
    assert "costs a few tokens" in result.stderr

    result = call("check", "--connect")
    assert result.exit_code == 1
    assert (
        "two: CANNOT BE USED\n  It has no API key yet: set upstreams.two.api_key.\n"
        in result.stdout
    )

    result = call("check", "--connect", "--json")
    assert (result.exit_code, [probe["usable"] for probe in json.loads(result.stdout)]) == (
        1,
        [True, False],
    )


@pytest.mark.whole  # a database server of its own
def test_connect_says_who_could_change_a_book_in_postgresql(call, home, upstream):
    url = postgres().database()
    database = url.rpartition("/")[2]
    postgres().sql("CREATE ROLE teller LOGIN")
    assert call("ledger", "migrate", "--url", url, "--allow", "teller").exit_code == 0

    def said(ledger_url):
        (home / "config.yaml").write_text(
            f"upstreams: {{one: {{base_url: {upstream}, api_key: k}}}}\n"
            f"routes: [{{model: '*', upstream: one}}]\nledger: {{url: '{ledger_url}'}}\n"
        )
        return call("check", "--connect").stderr

    assert "could take their triggers off and change the book" in said(url)
    assert "Note:" not in said(postgres().url(database, "teller"))
    away = said("postgresql://teller:geheim@127.0.0.1:1/tk")
    assert "Note: the ledger cannot be asked: postgresql://127.0.0.1:1/tk: " in away
    assert "geheim" not in away
    postgres().sql("DROP OWNED BY teller", database)


def test_connect_knows_its_upstreams(call):
    assert call("check", "--upstream", "scripted").exit_code == 2
    unknown = call("check", "--connect", "--upstream", "scriptde")
    assert unknown.exit_code == 1
    assert "There is no upstream scriptde in config.yaml; it has scripted." in unknown.stderr
