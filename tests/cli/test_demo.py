"""`tollkeeper demo`: its config, its lines, and the lines run as a user pastes them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.cli.demo import HOST, Ports, config_text, free_port
from proxy.config import loader
from tests.cli.process import running
from tests.support.waiting import GUARD_S, until_blocking

pytestmark = pytest.mark.whole

ADMIN_TOKEN = "7c1f0be94da2583766c0"
ANY_PORTS = ("--port", "0", "--metrics-port", "0")  # tests may run side by side


def test_the_demos_config_is_valid_without_a_warning_and_holds_no_secret(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        config_text("http://127.0.0.1:9/v1", Ports(8790, 9464, 8791), "sk-tk-canary", ADMIN_TOKEN)
    )
    loaded = loader.load(path, {})
    assert loaded.warnings == ()
    assert "canary" not in path.read_text()
    assert (loaded.settings.listen, loaded.settings.data_dir) == (
        "127.0.0.1:8790",
        tmp_path / "var",
    )


def test_a_taken_port_is_replaced():
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) == 0
    assert free_port(port) == port


def test_another_config_is_never_overwritten(call, home):
    before = (home / "config.yaml").read_text()
    result = call("demo", "--dir", str(home))
    assert result.exit_code == 1
    assert "is not the demo's" in result.stderr
    assert (home / "config.yaml").read_text() == before


@pytest.fixture
def shell(tmp_path):
    """Runs a printed line as a shell does, with this Python first on the PATH."""

    def shell(line: str) -> str:
        env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=GUARD_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return shell


def test_the_printed_lines_work_and_ctrl_c_leaves_nothing(tmp_path, shell):
    with running(
        "demo",
        *ANY_PORTS,
        "--pace",
        "0",
        cwd=tmp_path,
        ready=r"Tollkeeper listens on (\S+).*All of them: [^\n]*\n",
        TMPDIR=str(tmp_path),
    ) as (process, found):
        printed = found[0]
        assert "and is removed at the end (--dir DIR keeps it)." in printed
        python = re.search(r"^python3 - <<'END'\n.*?^END$", printed, re.DOTALL | re.MULTILINE)
        assert shell(python[0]) == "为什么数学书总是很忧郁？因为它有太多的问题。\n"
        # What curl would send: curl itself is not on every machine.
        url, secret, body = re.search(
            r"^curl -N (\S+) .*?Bearer (\S+)\".*?-d '(.*?)'$", printed, re.DOTALL | re.MULTILINE
        ).groups()
        request = urllib.request.Request(
            url,
            body.encode(),
            {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=GUARD_S) as response:
            assert response.read().endswith(b"data: [DONE]\n\n")
        usage, status = (
            re.search(rf"^\S.* {words} -c .*$", printed, re.MULTILINE)[0]
            for words in ("usage", "ledger status")
        )
        await_booked(shell, status)
        lines = shell(usage).splitlines()
        assert [line.split()[:4] for line in lines[2:4]] == [
            ["demo-team", "demo", "demo-chat", "1"],
            ["demo-team", "demo", "qwen3-max-2026-01-23", "1"],
        ]
        assert "charge" in lines[1] and "unpriced" not in lines[1]
        metrics = re.search(r"http://\S+/metrics", printed)[0]
        with urllib.request.urlopen(metrics, timeout=GUARD_S) as response:
            families = list(text_string_to_metric_families(response.read().decode()))
        samples = [
            sample
            for family in families
            for sample in family.samples
            if sample.name == "tollkeeper_requests_total"
        ]
        assert {
            (sample.labels["team"], sample.labels["key"], sample.labels["model"]): sample.value
            for sample in samples
        } == {
            ("demo-team", "demo", "demo-chat"): 1,
            ("demo-team", "demo", "qwen3-max-2026-01-23"): 1,
        }
        for page, asks in re.findall(
            r"^(http://\S+/ui) for [^,]+, with the (key|token)", printed, re.M
        ):
            with urllib.request.urlopen(page, timeout=GUARD_S) as response:
                assert (
                    f"Your {'API' if asks == 'key' else 'admin'} {asks}" in response.read().decode()
                )
        assert printed.count("/ui for ") == 2
        assert len(list(tmp_path.glob("tollkeeper-demo-*"))) == 1
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().endswith("Stopped; the demo's data is removed.\n")
        assert process.wait(GUARD_S) == 0
    assert list(tmp_path.glob("tollkeeper-demo-*")) == []


def await_booked(shell, status: str) -> None:
    """Each look starts a process; the recorder books within milliseconds."""
    until_blocking(lambda: re.search(r"^records +2$", shell(status), re.MULTILINE))


def test_a_kept_directory_is_kept(tmp_path):
    home = tmp_path / "kept"
    for _ in range(2):
        with running(
            "demo", *ANY_PORTS, "--dir", str(home), cwd=tmp_path, ready=r"(.*)All of them: [^\n]*\n"
        ) as (process, found):
            assert f"The data is in {home}, and stays there.\n" in found[0]
            process.send_signal(signal.SIGTERM)
            assert process.wait(GUARD_S) == 0
    assert (home / "config.yaml").exists()
    assert (home / "var" / "ledger.db").exists()
