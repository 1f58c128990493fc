"""`tollkeeper key hash`."""

import hashlib
import json

import pytest

from proxy.tenants import ring as keys


@pytest.mark.parametrize("piped", ["sk-alice", "sk-alice\n", "sk-alice\r\n", "sk-alice\nignored"])
def test_the_digest_of_a_piped_secret(call, piped):
    result = call("key", "hash", piped=piped)
    assert (result.exit_code, result.stdout) == (
        0,
        f"secret_sha256: {hashlib.sha256(b'sk-alice').hexdigest()}\n",
    )


def test_a_secret_beyond_ascii(call):
    assert json.loads(call("key", "hash", "--json", piped="密钥").stdout) == {
        "secret_sha256": hashlib.sha256("密钥".encode()).hexdigest()
    }


def test_a_new_key_is_whole_fits_its_digest_and_is_new(call):
    first, second = (
        json.loads(call("key", "hash", "--new", "--json", "-c", "nowhere.yaml").stdout)
        for _ in range(2)
    )
    assert keys.check(first["secret"])
    assert first["secret_sha256"] == hashlib.sha256(first["secret"].encode()).hexdigest()
    assert first["secret"] != second["secret"]
    assert [line.split(": ")[0] for line in call("key", "hash", "--new").stdout.splitlines()] == [
        "secret",
        "secret_sha256",
    ]


@pytest.mark.parametrize(
    ("piped", "message"),
    [
        ("", "no key on standard input"),
        ("\n", "no key on standard input"),
        ("  \n", "no key on standard input"),
        (" sk-alice", "begins or ends with a space"),
        (b"\xff\xfe", "not UTF-8"),
        ("sk-tk-" + "a" * 36, "has a typo"),
    ],
)
def test_what_cannot_be_a_key_is_refused_and_not_repeated(call, piped, message):
    result = call("key", "hash", piped=piped)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert "alice" not in result.stderr
    assert "aaaa" not in result.stderr


def test_many_new_keys_at_once(call):
    made = json.loads(call("key", "hash", "--new", "--count", "3", "--json").stdout)
    assert len({one["secret"] for one in made}) == 3 and all(
        keys.check(one["secret"]) for one in made
    )
    for one in made:
        assert one["secret_sha256"] == hashlib.sha256(one["secret"].encode()).hexdigest()
    lines = call("key", "hash", "--new", "--count", "3").stdout.splitlines()
    assert [len(line.split()) for line in lines] == [2] * 4
    assert "goes with --new" in call("key", "hash", "--count", "3", piped="sk-a").stderr
    assert call("key", "hash", "--new", "--count", "0").exit_code == 2
