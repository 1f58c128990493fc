"""A closed statement is checked with the public key alone, by this program and by openssl."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from proxy.core.statements.frozen import key_of_pem
from tests.cli.test_statement_close import MONEY
from tests.ledger.samples import make_record

Call = Callable[..., Result]
DOCS = Path(__file__).parents[2] / "docs" / "month-end.md"


@pytest.fixture
def saved(call: Call, book: Callable[..., Path], home: Path) -> Path:
    """The signed file of a closed month."""
    book(make_record(0, **MONEY))
    assert call("statement", "close", "2026-10").exit_code == 0
    assert call("statement", "show", "2026-10", "--save", "october").exit_code == 0
    return home / "october" / "statement-1-2026-10.json"


def test_a_file_is_checked_with_the_public_key_alone(call: Call, saved: Path) -> None:
    shutil.rmtree(saved.parents[1] / "var")
    words = ("statement", "verify", str(saved), "--key", str(saved.with_name("public.pem")))
    good = call(*words)
    assert (good.exit_code, good.stdout) == (
        0, "Statement 1 of 2026-10 is as it was signed, and adds up.\n",
    )  # fmt: skip
    document = saved.read_bytes()
    saved.write_bytes(document.replace(b'"charge_nano":"2000000"', b'"charge_nano":"1"', 1))
    bad = call(*words)
    assert bad.exit_code == 3 and "the signature is not that of this key" in bad.stdout
    saved.write_bytes(b"{}")
    assert "it is no 'tollkeeper statement 1'" in call(*words).stderr
    saved.with_name(f"{saved.name}.sig").unlink()
    assert "cannot read" in call(*words).stderr and "side by side" in call(*words).stderr
    assert call("statement", "verify", str(saved)).exit_code == 2
    assert call("statement", "verify", "x" * 5000).exit_code == 2
    absent = call("statement", "verify", "2026-13")
    assert absent.exit_code == 2 and "there is no such file" in absent.stderr
    assert "'2026-13' is no month: write 2026-11." in absent.stderr


def test_a_month_is_checked_in_the_ledger(call: Call, saved: Path) -> None:
    good = call("statement", "verify", "2026-10")
    assert good.exit_code == 0 and "the ledger says the same" in good.stdout, good.output
    key = str(saved.with_name("public.pem"))
    assert call("statement", "verify", "2026-10", "--key", key).exit_code == 0
    assert "2026-11 is not closed" in call("statement", "verify", "2026-11").stderr
    other = saved.with_name("other.pem")
    text = saved.with_name("public.pem").read_text().splitlines()
    other.write_text("\n".join([text[0], text[1][:-8] + "AAAAAAA=", text[2]]))
    wrong = call("statement", "verify", "2026-10", "--key", str(other))
    assert wrong.exit_code == 3 and "signed with another key" in wrong.stdout
    private = str(saved.parents[1] / "var" / "ledger.ed25519.pem")
    assert "a private key" in call("statement", "verify", "2026-10", "--key", private).stderr
    other.write_text("no key")
    assert call("statement", "verify", "2026-10", "--key", str(other)).exit_code == 1


def test_a_copy_without_the_signing_key_says_which_key_was_taken(call: Call, saved: Path) -> None:
    """A person who signs a forged statement anew names the own key in it."""
    data_dir = saved.parents[1] / "var"
    own = (data_dir / "ledger.ed25519.pem").read_text()
    (data_dir / "ledger.ed25519.pem").unlink()
    key = key_of_pem(saved.with_name("public.pem").read_text()).hex()
    copy = call("statement", "verify", "2026-10")
    assert copy.exit_code == 0, copy.output
    first, told = copy.stdout.splitlines()
    assert first.endswith("the ledger says the same.")
    assert f"checked with the key {key}, which it names itself" in told and "--key" in told
    assert "ledger.ed25519.pem is not there" in told
    for given in (key, key.upper(), str(saved.with_name("public.pem"))):
        known = call("statement", "verify", "2026-10", "--key", given)
        assert (known.exit_code, known.stdout) == (0, f"{first}\n")
    other = call("statement", "verify", "2026-10", "--key", "0" * 64)
    assert other.exit_code == 3 and "signed with another key" in other.stdout
    for given in (key[:-1], key + "0", "none.pem"):
        wrong = call("statement", "verify", "2026-10", "--key", given)
        assert wrong.exit_code == 1 and "no key of 64 hex digits" in wrong.stderr
    (data_dir / "ledger.ed25519.pem").write_text(own)
    assert call("statement", "verify", "2026-10").stdout == f"{first}\n"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_accepts_the_signature_as_the_docs_say(saved: Path) -> None:
    [command] = re.findall(r"^openssl pkeyutl -verify .*?[^\\]$", DOCS.read_text(), re.M | re.S)

    def verified() -> bool:
        return (
            subprocess.run(
                ["sh", "-c", command], cwd=saved.parents[1], capture_output=True, check=False
            ).returncode
            == 0
        )

    assert verified()
    saved.write_bytes(saved.read_bytes() + b" ")
    assert not verified()
