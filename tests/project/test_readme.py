"""The commands of README and docs run as they stand: their `sh` blocks in a shell, against a
scripted upstream instead of a vendor, from the first start to a team's usage.

What is changed in a line is only what a test machine needs: the vendor's address, free ports, and
an end for what serves for ever.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.admin.process import Process
from proxy.cli import admin_client
from tests.cli.process import running as command
from tests.clients.deployment import scripted
from tests.support.waiting import GUARD_S

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
PRICES = (ROOT / "docs" / "prices.md").read_text()
PAGES = [README, *(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))]
LINES_MAX = 150
READY = re.compile(r'(?:base_url=|"base_url": ?")(http://[^"\s]+/v1)')
ASK = {"model": "deepseek-v3.2", "messages": [{"role": "user", "content": "Hello!"}]}
SERVE_ALONE = "tollkeeper serve --upstream https://api.modelmax.io/v1"
SERVE_CONFIG = "tollkeeper serve -c config.yaml"
# Lines that other tests run, or that run tests.
ELSEWHERE = {
    "tollkeeper statement show -c config.yaml 2026-11 --team research --format html > research.html": "tests/cli/test_statement.py",
    "make demo": "tests/cli/test_demo.py",
    "tollkeeper check -c config.yaml --connect": "tests/cli/test_check.py",
    "tollkeeper notify list -c config.yaml": "tests/cli/test_notify.py",
    "tollkeeper notify test -c config.yaml": "tests/cli/test_notify.py",
    "tollkeeper ledger reconcile activity.csv --vendor openrouter --month 2026-11": "tests/cli/test_reconcile.py",
    "tollkeeper ledger migrate --url postgresql://tollkeeper_owner@db/tollkeeper --allow tollkeeper_app": "tests/cli/test_ledger_migrate.py",
    "tollkeeper ledger copy -c config.yaml --to "
    "postgresql://tollkeeper_app@db.internal/tollkeeper": "tests/cli/test_ledger_copy.py",
    **dict.fromkeys(
        (
            "tollkeeper ledger backup -c config.yaml /backup/ledger.db --force",
            "mkdir lost",
            "mv var/ledger.db* lost/",
            "cp /backup/ledger.db var/ledger.db",
            "tollkeeper ledger replay -c config.yaml",
            "tollkeeper ledger verify -c config.yaml",
        ),
        "tests/scenarios/test_restored_backup.py",
    ),
    "tollkeeper ledger erase-user -c config.yaml ann@example.org "
    '--reason "request of 3 May" --yes': "tests/cli/test_ledger_erase.py",
    "tollkeeper ledger push -c config.yaml --url https://openmeter.example.org/api/v1/events": "tests/cli/test_ledger_push.py",
    "tollkeeper ledger archive -c config.yaml --before 2026-01 --to /archive --dry-run": "tests/cli/test_ledger_archive.py",
    "tollkeeper ledger archive -c config.yaml --before 2026-01 --to /archive --yes": "tests/cli/test_ledger_archive.py",
    "make quick": "",
    "make test": "",
    "make check": "",
    "make bench": "",
    "make campaign": "",
    # All lines of these pages, in their order.
    **{
        line: "tests/scenarios/test_month_end.py"
        for line in (ROOT / "docs" / "month-end.md").read_text().splitlines()
        if line.startswith("tollkeeper ")
    },
    **{
        line: "tests/cli/test_desk.py"
        for line in (ROOT / "docs" / "keys.md").read_text().splitlines()
        if line.startswith("tollkeeper ")
    },
    **{
        line: "tests/cli/test_admin_day.py"
        for line in (ROOT / "docs" / "admin-day.md").read_text().splitlines()
        if line.startswith("tollkeeper ")
    },
}
HANDLED = {
    SERVE_ALONE,
    SERVE_CONFIG,
    "tollkeeper usage --data-dir var",
    "tollkeeper ledger status --data-dir var",
    "tollkeeper key hash --new",
    "tollkeeper check -c config.yaml",
    "tollkeeper usage -c config.yaml",
    "tollkeeper usage -c config.yaml --by team,label:cost_center,day --month 2026-11",
    "tollkeeper usage -c config.yaml --by key,source --format csv",
    "tollkeeper ledger status -c config.yaml",
    "tollkeeper price show deepseek-v3.2 -c config.yaml",
    "tollkeeper usage -c config.yaml --month 2026-11 --by team,label:cost_center",
    "tollkeeper ledger export -c config.yaml --month 2026-11 --out november.csv",
    "tollkeeper price rerate -c config.yaml --month 2026-11 --dry-run",
    "tollkeeper price rerate -c config.yaml --month 2026-11 --yes",
    "tollkeeper ledger export -c config.yaml --month 2026-11 --after 48213 --out november-corrections.csv",
}


def commands() -> list[str]:
    """Each line of the sh blocks of README and docs, without its comment."""
    blocks = [
        block
        for page in PAGES
        for block in re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    ]
    return [
        line.partition(" #")[0].strip()
        for block in blocks
        for line in block.splitlines()
        if line.strip()
    ]


def environment() -> dict[str, str]:
    """A shell's, with this Python's commands first on the PATH as `source .venv/bin/activate` makes
    it."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith("TOLLKEEPER_")
    }
    return clean | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        "MODELMAX_API_KEY": "sk-vendor",
        "ALICE_KEY": "sk-alice",
    }


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., str]:
    def shell(line: str, **here: str) -> str:
        """Its output. `here`: what stands for the README's month and seq today."""
        assert line in commands(), f"no page says `{line}` any more"
        for name, said in (("month", "2026-11"), ("after", "48213")):
            line = line.replace(said, here.get(name, said))
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=GUARD_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return shell


@contextmanager
def serving(line: str, directory: Path) -> Iterator[str]:
    """A line that serves, until the end of the block: its base_url. It must then stop in good order
    on SIGTERM."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {line}"],
        cwd=directory,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        printed = ""
        while (found := READY.search(printed)) is None:
            said = process.stderr.readline()
            assert said, printed
            printed += said
        rest = threading.Thread(target=process.stderr.read)
        rest.start()
        yield found[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(GUARD_S) == 0
        rest.join()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stderr.close()


def ask(base_url: str, key: str) -> tuple[dict[str, object], str]:
    """The answer, and the id under which it is recorded."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(
        f"{base_url}/chat/completions", json.dumps(ASK).encode(), headers
    )
    with urllib.request.urlopen(request, timeout=GUARD_S) as response:
        return json.load(response), response.headers["x-tollkeeper-id"]


def test_the_readme_stays_short():
    lines = README.count("\n")
    assert lines <= LINES_MAX, "what one kind of reader needs belongs to a page of docs/"


def test_every_command_is_run_by_a_test():
    assert [line for line in commands() if line not in HANDLED | set(ELSEWHERE)] == [], (
        "run it in this file, or name the test that does in ELSEWHERE"
    )


def test_without_a_config_only_base_url_changes(
    tmp_path: Path, shell: Callable[[str], str]
) -> None:
    with scripted(tmp_path) as (upstream, _):
        # `--upstream` knows no other ports than the defaults, which may be taken here.
        port_free = SERVE_ALONE.replace("https://api.modelmax.io/v1", upstream)
        if not defaults_are_free():
            pytest.skip("ports 8790 and 9464 are taken")
        with serving(port_free, tmp_path) as base_url:
            assert f'base_url="{base_url}"' in README
            answer, _ = ask(base_url, "sk-callers-own")
            assert answer["object"] == "chat.completion"
    assert re.search(
        r"fwd-[0-9a-f]{16} +\S*deepseek-v3.2 +1 ", shell("tollkeeper usage --data-dir var")
    )
    assert re.search(
        r"^records +1$", shell("tollkeeper ledger status --data-dir var"), re.MULTILINE
    )


def defaults_are_free() -> bool:
    for port in (8790, 9464):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def test_with_the_shipped_config_from_a_key_to_a_teams_usage(
    tmp_path: Path, shell: Callable[[str], str]
) -> None:
    secret, digest = re.fullmatch(
        r"secret: (sk-tk-\w{36})\nsecret_sha256: ([0-9a-f]{64})\n",
        shell("tollkeeper key hash --new"),
    ).groups()  # type: ignore[union-attr]
    with scripted(tmp_path) as (upstream, _):
        text = (ROOT / "config.yaml").read_text()
        for said, here in [
            ("https://api.modelmax.io/v1", upstream),
            ("127.0.0.1:8790", "127.0.0.1:0"),
            ("127.0.0.1:9464", "127.0.0.1:0"),
            ("delay: 5s", "delay: 0s"),
            ('secret: "${ALICE_KEY:-}"', f"secret_sha256: {digest}"),
        ]:
            assert said in text
            text = text.replace(said, here)
        (tmp_path / "config.yaml").write_text(text)
        checked = shell("tollkeeper check -c config.yaml")
        assert (
            "sk-vendor" not in checked
            and yaml.safe_load(checked)["upstreams"]["modelmax"]["base_url"] == upstream
        )
        with serving(SERVE_CONFIG, tmp_path) as base_url:
            answer, record_id = ask(base_url, secret)
    tokens = answer["usage"]["completion_tokens"]  # type: ignore[index]
    assert re.search(
        rf"^ *research +alice +deepseek-v3.2 +1 .*\b{tokens}\b",
        shell("tollkeeper usage -c config.yaml"),
        re.MULTILINE,
    )
    by_day = next(line for line in commands() if "--month" in line)
    month = re.search(r"--month (\S+)", by_day)[1]  # type: ignore[index]
    usage = shell(by_day)
    if month == f"{datetime.now(UTC):%Y-%m}":
        assert re.search(rf"^ *research +4711 +{month}-\d\d +1 ", usage, re.MULTILINE)
    [row, _] = csv.DictReader(
        io.StringIO(shell("tollkeeper usage -c config.yaml --by key,source --format csv"))
    )
    assert (row["key"], row["source"], row["requests"], row["output_tokens"]) == (
        "alice",
        "reported",
        "1",
        str(tokens),
    )
    assert re.search(
        r"^records +1$", shell("tollkeeper ledger status -c config.yaml"), re.MULTILINE
    )
    assert "`tollkeeper record show ID`" in README
    shown = subprocess.run(
        [shutil.which("tollkeeper", path=environment()["PATH"]) or "", "record", "show", record_id],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert record_id in shown.stdout and "reported" in shown.stdout


def test_a_month_per_team_from_a_price_row_to_the_file_finance_loads(
    tmp_path: Path, shell: Callable[..., str]
) -> None:
    month = f"{datetime.now(UTC):%Y-%m}"
    row = next(
        line
        for line in PRICES.splitlines()
        if line.startswith('  - {model: "deepseek-v3.2", upstream: modelmax, input: "0.28"')
    )
    team = next(line for line in PRICES.splitlines() if line.startswith("  research: {labels"))
    config = tmp_path / "config.yaml"

    def month_of(name: str) -> list[dict[str, str]]:
        with (tmp_path / name).open(newline="") as file:
            return list(csv.DictReader(file))

    with scripted(tmp_path) as (upstream, _):
        text = re.sub(
            r"^prices: \[\].*$",
            lambda _: f"prices:\n{row}",
            (ROOT / "config.yaml").read_text(),
            flags=re.MULTILINE,
        )
        text = re.sub(r"^  research:\n( {4}.*\n)+", lambda _: f"{team}\n", text, flags=re.MULTILINE)
        for said, here in [
            ("https://api.modelmax.io/v1", upstream),
            ("127.0.0.1:8790", "127.0.0.1:0"),
            ("127.0.0.1:9464", "127.0.0.1:0"),
            ("delay: 5s", "delay: 0s"),
        ]:
            text = text.replace(said, here)
        config.write_text(text)
        assert "0.28" in shell("tollkeeper price show deepseek-v3.2 -c config.yaml")
        with serving(SERVE_CONFIG, tmp_path) as base_url:
            used = [ask(base_url, "sk-alice")[0]["usage"] for _ in range(3)]
            process = admin_client.running(tmp_path / "var", {})
            assert process is not None
            health = functools.partial(
                admin_client.ask, process, "GET", "/admin/v1/health", type=Process
            )
            while health().backlog_records:
                pass  # the process decides
            shell(
                "tollkeeper ledger export -c config.yaml --month 2026-11 --out november.csv",
                month=month,
            )
            first = month_of("november.csv")
            # The shares of a million of tokens, in nano-dollars: exact, since 0.28 per million is
            # 280 for each.
            cost = sum(
                280 * (u["prompt_tokens"] - cached(u))
                + 28 * cached(u)
                + 420 * u["completion_tokens"]
                for u in used
            )  # type: ignore[index]
            assert sum(Decimal(line["cost"]) for line in first) == Decimal(cost).scaleb(-9)
            assert {
                (line["team"], json.loads(line["labels"])["cost_center"]) for line in first
            } == {("research", "4711")}
            before = health().price_version
            config.write_text(
                text.replace('"0.28"', '"0.14"')
                .replace('"0.42"', '"0.21"')
                .replace('"0.028"', '"0.014"')
            )
            os.kill(health().pid, signal.SIGHUP)
            while health().price_version == before:
                pass
            assert "nothing is booked yet" in shell(
                "tollkeeper price rerate -c config.yaml --month 2026-11 --dry-run", month=month
            )
            assert "adjusted: 3, unchanged: 0" in shell(
                "tollkeeper price rerate -c config.yaml --month 2026-11 --yes", month=month
            )
            assert "adjusted: 0, unchanged: 3" in shell(
                "tollkeeper price rerate -c config.yaml --month 2026-11 --yes", month=month
            )
            shell(
                "tollkeeper ledger export -c config.yaml --month 2026-11 --after 48213 --out november-corrections.csv",
                month=month,
                after=first[-1]["seq"],
            )
    both = first + month_of("november-corrections.csv")
    assert {line["adjusts"] for line in both[3:]} == {line["id"] for line in first}
    assert sum(Decimal(line["cost"]) for line in both) == Decimal(cost // 2).scaleb(-9)
    charge = sum(Decimal(line["charge"]) for line in both)
    owed = shell(
        "tollkeeper usage -c config.yaml --month 2026-11 --by team,label:cost_center", month=month
    )
    assert re.search(
        rf"^research +4711 +3 .* {re.escape(f'{charge:f}'.rstrip('0'))} +USD", owed, re.MULTILINE
    ), owed


def cached(usage: Any) -> int:
    """The part of a stated usage's input that came from a cache."""
    return (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
def test_the_demos_curl_lines_run_as_they_are_printed(tmp_path: Path) -> None:
    def run(line: str) -> str:
        return subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=GUARD_S,
            check=True,
        ).stdout

    with command(
        "demo",
        "--port",
        "0",
        "--metrics-port",
        "0",
        "--pace",
        "0",
        cwd=tmp_path,
        ready=r"All of them: [^\n]*\n",
        TMPDIR=str(tmp_path),
    ) as (process, found):
        printed = found.string
        stream, *_ = re.findall(r"^curl -N .*?\}'$", printed, re.MULTILINE | re.DOTALL)
        events = run(stream)
        assert events.endswith("data: [DONE]\n\n") and '"usage":{' in events
        metrics, *_ = re.findall(r"^curl -s \S+ \| grep .*$", printed, re.MULTILINE)
        assert re.search(
            r'^tollkeeper_requests_total\{.*model="demo-chat".*\} 1\.0$', run(metrics), re.MULTILINE
        )
        models, *_ = re.findall(r"All of them: (curl -s .*)$", printed, re.MULTILINE)
        assert "demo-chat" in [model["id"] for model in json.loads(run(models))["data"]]
        messages, *_ = re.findall(r"^curl \S+/messages .*?\}'$", printed, re.MULTILINE | re.DOTALL)
        assert json.loads(run(messages))["type"] == "message"
        process.send_signal(signal.SIGINT)
        assert process.wait(GUARD_S) == 0
