"""Vocabularies: OpenAI's own, loaded once for all, without the network, and done without when they
cannot be loaded."""

from __future__ import annotations

import asyncio
import gzip
import logging
import shutil
import socket
import threading
from pathlib import Path

import pytest
from tiktoken_ext import openai_public

from proxy.core.tokens.text import Count
from proxy.dataplane.counting.vocabulary import (
    CL100K,
    O200K,
    Vocabularies,
    VocabularyError,
    family,
    shipped,
)
from tests.support.waiting import GUARD_S

DATA = Path(str(shipped()))


class Directory:
    """The shipped directory, or another, that counts what is read from it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.reads: list[tuple[str, str]] = []

    def joinpath(self, name: str) -> Directory:
        self._file = name
        return self

    def read_bytes(self) -> bytes:
        self.reads.append((self._file, threading.current_thread().name))
        return (self._path / self._file).read_bytes()


@pytest.fixture
def offline(monkeypatch):
    """Any attempt to reach the network fails the test."""

    def refuse(*args: object) -> None:
        raise AssertionError(f"reached for the network: {args}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def directory() -> Directory:
    return Directory(DATA)


@pytest.fixture
async def vocabularies(directory):
    vocabularies = Vocabularies(directory)
    yield vocabularies
    vocabularies.close()


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (
            "gpt-4o gpt-4o-mini-2024-07-18 chatgpt-4o-latest gpt-4.1 gpt-4.1-nano gpt-4.5-preview gpt-5 gpt-5-mini gpt-5.1 gpt-5.2-pro GPT-4o",
            O200K.name,
        ),
        (
            "o1 o1-pro o3 o3-mini o4-mini-2025-04-16 codex-mini-latest gpt-oss-120b gpt-oss:20b openai/gpt-oss-20b openai/gpt-4o azure/gpt-4o",
            O200K.name,
        ),
        ("ft:gpt-4o-mini-2024-07-18:org::id ft:gpt-4.1:org gpt-4o@eu", O200K.name),
        (
            "gpt-4 gpt-4-0613 gpt-4-32k gpt-4-32k-0613 gpt-4-turbo gpt-4-turbo-2024-04-09 gpt-4-1106-preview gpt-4-vision-preview ft:gpt-4-0613:org",
            CL100K.name,
        ),
        (
            "gpt-3.5-turbo gpt-3.5-turbo-0125 gpt-35-turbo gpt-3.5 ft:gpt-3.5-turbo:org text-embedding-3-small text-embedding-ada-002 davinci-002",
            CL100K.name,
        ),
        (
            "qwen-max deepseek-chat claude-sonnet-4 mistral-large gpt4all gpt-4all gpt-4-x-alpaca gpt-40 o10 o2 someone/gpt-4 gpt-6 gpt-2 davinci text-davinci-003",
            None,
        ),
        ("llama3 o1js text-embedding-v3 gpt- gpt-4o_mini gpt-image-1 whisper-1", None),
    ],
)
def test_families_by_name(models: str, expected: str | None):
    assert {model: family(model) for model in [*models.split(), ""]} == {
        **dict.fromkeys(models.split(), expected),
        "": None,
    }


@pytest.mark.parametrize("vocabulary", [O200K, CL100K], ids=lambda vocabulary: vocabulary.name)
def test_patterns_and_special_tokens_are_tiktokens_own(vocabulary, monkeypatch):
    asked = []
    monkeypatch.setattr(
        openai_public,
        "load_tiktoken_bpe",
        lambda url, expected_hash: asked.append((url, expected_hash)),
    )
    own = getattr(openai_public, vocabulary.name)()
    assert (own["name"], own["pat_str"], own["special_tokens"]) == (
        vocabulary.name,
        vocabulary.pattern,
        vocabulary.special,
    )
    [(url, sha256)] = asked
    assert sha256 == vocabulary.sha256
    row = next(
        line
        for line in (DATA / "README.md").read_text().splitlines()
        if f"`{vocabulary.name}.tiktoken.gz`" in line
    )
    assert url in row and sha256 in row and "MIT License" in (DATA / "README.md").read_text()


@pytest.mark.usefixtures("offline")
async def test_a_vocabulary_is_loaded_once_in_a_thread_and_without_the_network(
    vocabularies, directory
):
    assert directory.reads == [] and not vocabularies.ready(O200K.name), (
        "nothing is loaded before it is needed"
    )
    given_up = asyncio.create_task(vocabularies.load(O200K.name))
    await asyncio.sleep(0)
    given_up.cancel()
    counts = await asyncio.gather(
        *(vocabularies.run(O200K.name, lambda count: count("hello world")) for _ in range(5)),
        vocabularies.run(CL100K.name, lambda count: count("")),
    )
    assert counts == [2] * 5 + [0]
    assert [name for name, _ in directory.reads] == [
        "o200k_base.tiktoken.gz",
        "cl100k_base.tiktoken.gz",
    ]
    assert {thread for _, thread in directory.reads} == {"tokens_0"}
    assert vocabularies.ready(O200K.name) and given_up.cancelled()


async def test_special_tokens_and_broken_text_are_counted_as_plain_text(vocabularies):
    count = await vocabularies.load(CL100K.name)
    assert count("<|endoftext|>") > 1
    assert count("\ud83d") >= 1


async def test_a_panic_of_the_tokenizer_is_an_error_that_counting_survives(vocabularies, capfd):
    count = await vocabularies.load(CL100K.name)
    with pytest.raises(VocabularyError, match="could not count a text of 1100001 characters"):
        count(" " * 1_100_000 + "x")
    assert await vocabularies.run(CL100K.name, lambda count: count(" " * 1_100_000 + "x")) is None
    assert await vocabularies.run(CL100K.name, lambda count: count("still there")) == 2
    capfd.readouterr()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "FileNotFoundError"),
        (b"", "SHA-256"),
        (b"no gzip", "BadGzipFile"),
        (gzip.compress(b"aGk= 0\n", mtime=0), "SHA-256 is .*, expected 2239"),
        ((DATA / "cl100k_base.tiktoken.gz").read_bytes()[:5000], "EOFError"),
        (b"\x1f\x8b\x08\x00" + bytes(6) + b"\xff" * 50, "error"),
    ],
    ids=[
        "absent",
        "empty",
        "no gzip",
        "another text",
        "cut short",
        "damaged",
    ],  # the bytes hold a time, and workers must agree on the names
)
async def test_a_vocabulary_that_cannot_be_loaded_is_said_once_and_done_without(
    tmp_path, caplog, content, reason
):
    shutil.copy(DATA / "o200k_base.tiktoken.gz", tmp_path)
    if content is not None:
        (tmp_path / "cl100k_base.tiktoken.gz").write_bytes(content)
    directory = Directory(tmp_path)
    vocabularies = Vocabularies(directory)
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            with pytest.raises(VocabularyError, match=reason):
                await vocabularies.load(CL100K.name)
        assert await vocabularies.run(CL100K.name, lambda count: count("a")) is None
    assert len(caplog.records) == len(directory.reads) == 1 and not vocabularies.ready(CL100K.name)
    vocabularies.close()


async def test_an_unknown_vocabulary_is_an_error_and_not_a_look_up(vocabularies):
    with pytest.raises(VocabularyError, match="known are o200k_base, cl100k_base"):
        await vocabularies.load("p50k_base")


async def test_after_close_nothing_is_counted_and_what_was_begun_is(vocabularies):
    def slowly(count: Count) -> int:
        begun.set()
        assert go_on.wait(GUARD_S)
        return count("hello world")

    begun, go_on = threading.Event(), threading.Event()
    counting = asyncio.create_task(vocabularies.run(CL100K.name, slowly))
    await asyncio.to_thread(begun.wait, GUARD_S)
    vocabularies.close()
    assert await vocabularies.run(CL100K.name, lambda count: count("x")) is None
    go_on.set()
    assert await counting == 2
