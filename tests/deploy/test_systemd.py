"""deploy/systemd/tollkeeper.service: its commands, its patience, and what systemd says of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from proxy.config.settings import Settings
from tests.deploy.files import DEPLOY, seconds, stop_s, understood

UNIT = DEPLOY / "systemd" / "tollkeeper.service"
EXPOSURE_MAX = 2.0  # of 10, as `systemd-analyze security` counts


def said(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def analyzed(*words: str) -> str:
    """What systemd-analyze says of the unit; skips where it is not."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not on this machine")
    done = subprocess.run([program, *words, str(UNIT)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_its_commands_are_the_programs() -> None:
    [start], [reload] = said("ExecStart"), said("ExecReload")
    serving, reloading = understood(start), understood(reload)
    assert (serving.info_name, reloading.info_name) == ("serve", "reload")
    config = Path("/etc/tollkeeper/config.yaml")
    assert serving.params["config_path"] == reloading.params["config_path"] == config


def test_it_waits_for_a_stop_and_lets_the_helper_live_until_then() -> None:
    settings = Settings()
    assert seconds(said("TimeoutStopSec")[0]) > stop_s(settings.drain)
    assert said("KillMode") == ["mixed"]
    assert int(said("LimitNOFILE")[0]) > 2 * settings.inflight_max + 256


def test_it_may_write_to_its_own_directory_alone() -> None:
    assert said("ProtectSystem") == ["strict"] and said("ReadWritePaths") == []
    assert said("StateDirectory") == ["tollkeeper"] and said("StateDirectoryMode") == ["0700"]
    assert said("User") == said("Group") == ["tollkeeper"]


def test_systemd_has_no_objection_but_that_it_is_not_installed_here() -> None:
    lines = [line for line in analyzed("verify").splitlines() if UNIT.name in line]
    assert [line for line in lines if "is not executable" not in line] == []


def test_it_is_hardened() -> None:
    printed = analyzed("security", "--offline=true", "--no-pager")
    if "Unknown" in printed or "unrecognized" in printed:
        pytest.skip("this systemd-analyze cannot look at a file")
    [exposure] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", printed)
    assert float(exposure) <= EXPOSURE_MAX
