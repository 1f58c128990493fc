"""Failpoints: each rule acts on the passes it names and nowhere else; a spec that would test
nothing is refused."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys

import pytest

from proxy.server.failpoints import NAMES, FailpointError, Failpoints


@pytest.mark.parametrize(
    ("rule", "acting_passes"),
    [
        ("journal.open.before=raise", [1, 2, 3, 4, 5]),
        ("journal.open.before=raise@1", [1]),
        ("journal.open.before=raise@3", [3]),
        ("journal.open.before=raise@3+", [3, 4, 5]),
        ("journal.open.after=raise", []),
        ("", []),
        (" journal.open.before=raise@2 , journal.open.after=raise ", [2]),
    ],
)
def test_acts_on_the_passes_its_rule_names(rule: str, acting_passes: list[int]) -> None:
    fail = Failpoints(rule)
    acted = []
    for number in range(1, 6):
        try:
            fail("journal.open.before")
        except OSError:
            acted.append(number)
    assert acted == acting_passes


def test_enospc_is_what_a_full_disk_raises() -> None:
    with pytest.raises(OSError, match="failpoint journal") as caught:
        Failpoints("journal.close.after=enospc")("journal.close.after")
    assert caught.value.errno == errno.ENOSPC


def test_raise_is_a_failing_disk_to_journal_and_ledger_and_a_bug_in_an_exchange() -> None:
    for name in NAMES:
        with pytest.raises((OSError, FailpointError), match=f"failpoint {name}") as caught:
            Failpoints(f"{name}=raise")(name)
        if name.startswith("exchange."):
            assert caught.type is FailpointError, name
        else:
            assert isinstance(caught.value, OSError) and caught.value.errno == errno.EIO, name


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("journal.opne.before=kill", "did you mean 'journal.open.before'"),
        ("journal.open.before=explode", "one of kill, raise, enospc"),
        ("journal.open.before", "is not name=action"),
        ("journal.open.before=kill@0", "is not name=action"),
        ("journal.open.before=kill@x", "is not name=action"),
    ],
)
def test_a_spec_that_would_test_nothing_is_refused(spec: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Failpoints(spec)


def test_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_kill_is_a_sigkill() -> None:
    code = "from proxy.server.failpoints import Failpoints; Failpoints('journal.open.before=kill')('journal.open.before'); print('alive')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (-signal.SIGKILL, b"")
