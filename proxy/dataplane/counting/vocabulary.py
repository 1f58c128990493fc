"""The tokenizers' vocabularies: which one a model's family reads with, and how it is loaded.

The files ship with the package (`proxy/data`), so no network is needed. One thread loads and
counts, so that counting takes at most one core; `core/tokens/` has the rules of what to count. A
vocabulary that cannot be loaded is told once in the log, and counting goes on with estimates.
"""

from __future__ import annotations

import asyncio
import binascii
import gzip
import hashlib
import logging
import re
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, TypeVar

import msgspec
import tiktoken

from proxy.core.tokens.text import Count

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class VocabularyError(Exception):
    """A vocabulary that cannot be used; the message says which and why."""


class Vocabulary(msgspec.Struct, frozen=True):
    """What fixes a tokenizer beside its file of ranks."""

    name: str
    sha256: str  # of the gunzipped file
    pattern: str  # cuts a text into the pieces that are encoded apart
    special: dict[str, int]


# Patterns and special tokens are tiktoken's; a test compares them with the installed tiktoken's
# own.
_CONTRACTION: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER: Final = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}"
_LOWER: Final = r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
O200K: Final = Vocabulary(
    "o200k_base",
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "|".join(
        (
            rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_CONTRACTION}",
            rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_CONTRACTION}",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        )
    ),
    {"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
)
CL100K: Final = Vocabulary(
    "cl100k_base",
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "|".join(
        (
            r"'(?i:[sdmt]|ll|ve|re)",
            r"[^\r\n\p{L}\p{N}]?+\p{L}++",
            r"\p{N}{1,3}+",
            r" ?[^\s\p{L}\p{N}]++[\r\n]*+",
            r"\s++$",
            r"\s*[\r\n]",
            r"\s+(?!\S)",
            r"\s",
        )
    ),
    {
        "<|endoftext|>": 100257,
        "<|fim_prefix|>": 100258,
        "<|fim_middle|>": 100259,
        "<|fim_suffix|>": 100260,
        "<|endofprompt|>": 100276,
    },
)
Loader = Callable[[Traversable, Vocabulary], tiktoken.Encoding]
_BY_NAME: Final = {vocabulary.name: vocabulary for vocabulary in (O200K, CL100K)}

# Whole names, or names that go on as a version, a size or a date does. Others' models that borrow a
# name (gpt-4-x-alpaca, gpt4all) are nobody's known family.
_ORIGIN = r"(?:openai/|azure/)?(?:ft:)?"
_O200K_NAMES = re.compile(
    _ORIGIN + r"(?:(?:chatgpt-|gpt-)4o|gpt-4\.[15]|gpt-5(?:\.\d+)?|gpt-oss|o1|o3|o4|codex-mini)"
    r"(?:[-:@].*)?",
    re.DOTALL,
)
_CL100K_NAMES = re.compile(
    _ORIGIN + r"(?:gpt-4(?:-(?:32k|turbo|vision|preview|\d{4}))?|gpt-3\.?5(?:-turbo)?"
    r"|text-embedding-(?:3|ada-002)|(?:davinci|babbage)-002)(?:[-:@].*)?",
    re.DOTALL,
)
_UNSEEN_NAMES = re.compile(
    _ORIGIN + r"(?:gpt-5(?:\.\d+)?|o1|o3|o4|codex-mini)(?:[-:@].*)?", re.DOTALL
)
_BORROWED = re.compile(_ORIGIN + r"gpt-4-(?!32k|turbo|vision|preview|\d{4})", re.DOTALL)


def family(model: str) -> str | None:
    """The vocabulary that a model of OpenAI's reads with, by its name.

    None where none is known, and counts can only be estimates.
    """
    name = model.lower()
    if _O200K_NAMES.fullmatch(name):
        return O200K.name
    if _CL100K_NAMES.fullmatch(name) and not _BORROWED.match(name):
        return CL100K.name
    return None


def reasons_unseen(model: str) -> bool:
    """Whether a model of OpenAI's, by its name, thinks in tokens that are billed and not shown.

    Then the text of its answers is not its output.
    """
    return _UNSEEN_NAMES.fullmatch(model.lower()) is not None


class Vocabularies:
    """The loaded vocabularies. Made by server.py; closed with `close`. `load` reads one of them
    from the directory, half a second of work."""

    def __init__(self, directory: Traversable | None = None, load: Loader | None = None) -> None:
        self._directory = shipped() if directory is None else directory
        self._load = load_encoding if load is None else load
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokens")
        self._loads: dict[str, asyncio.Future[Count | VocabularyError]] = {}
        self._closed = False

    async def load(self, name: str) -> Count:
        """How to count with this vocabulary (to be called in a thread: `run`). Raises
        VocabularyError, each time anew once a load has failed.

        The first to ask loads it, everyone else waits for the same load, and one who gives up
        waiting takes it from nobody.
        """
        if self._closed:
            raise VocabularyError("Nothing is counted any more: the process ends.")
        loading = self._loads.get(name)
        if loading is None:
            loading = asyncio.get_running_loop().run_in_executor(
                self._thread, _loaded, self._load, self._directory, name
            )
            self._loads[name] = loading
        known = loading.done() and not loading.cancelled()  # as nearly always: without a wait
        outcome = loading.result() if known else await asyncio.shield(loading)
        if isinstance(outcome, VocabularyError):
            raise VocabularyError(str(outcome))
        return outcome

    def ready(self, name: str) -> bool:
        """Whether this vocabulary is loaded, so that counting with it does not wait."""
        loading = self._loads.get(name)
        return (
            loading is not None
            and loading.done()
            and not loading.cancelled()
            and not isinstance(loading.result(), VocabularyError)
        )

    async def run(self, name: str, counting: Callable[[Count], _T]) -> _T | None:
        """Does `counting` in the thread, with how to count in its hand. None if there is nothing to
        count with: go on with an estimate."""
        try:
            count = await self.load(name)
            if self._closed:
                return None
            return await asyncio.get_running_loop().run_in_executor(self._thread, counting, count)
        except VocabularyError:
            return None

    def close(self) -> None:
        """Takes nothing new. What was begun is still counted: a count takes milliseconds, a load
        less than a second."""
        self._closed = True
        self._thread.shutdown(wait=False)


def _loaded(load: Loader, directory: Traversable, name: str) -> Count | VocabularyError:
    """In the thread: a count function, or why there is none. An error is a result here, so that a
    load nobody waits for any more is no unretrieved exception."""
    try:
        encoding = load(directory, _BY_NAME[name])
    except KeyError:
        return VocabularyError(f"There is no vocabulary {name!r}; known are {', '.join(_BY_NAME)}")
    except (OSError, EOFError, zlib.error, binascii.Error, ValueError, MemoryError) as error:
        failure = VocabularyError(
            f"The vocabulary {name} cannot be loaded ({type(error).__name__}: {error}). Install the"
            " package anew."
        )
        _log.error("%s Counts that need it are estimates until then.", failure)
        return failure
    return lambda text: _count(encoding, text)


def shipped() -> Traversable:
    """The directory of the vocabularies that come with the package."""
    return resources.files("proxy").joinpath("data")


def load_encoding(directory: Traversable, vocabulary: Vocabulary) -> tiktoken.Encoding:
    """Half a second of work. Raises what reading, decompressing and decoding raise, and ValueError
    if it is another file than expected."""
    data = gzip.decompress(directory.joinpath(f"{vocabulary.name}.tiktoken.gz").read_bytes())
    found = hashlib.sha256(data).hexdigest()
    if found != vocabulary.sha256:
        raise ValueError(f"its SHA-256 is {found}, expected {vocabulary.sha256}")
    ranks = {
        binascii.a2b_base64(token): int(rank)
        for token, rank in (line.split() for line in data.splitlines())
    }
    # Built from the parts: tiktoken.get_encoding would download.
    return tiktoken.Encoding(
        vocabulary.name,
        pat_str=vocabulary.pattern,
        mergeable_ranks=ranks,
        special_tokens=vocabulary.special,
    )


def _count(encoding: tiktoken.Encoding, text: str) -> int:
    """Tokens of a text, special tokens read as the plain text they are in what a user wrote
    (`encode` would raise on them)."""
    try:
        return len(encoding.encode_ordinary(text))
    except BaseException as error:
        # A panic of the Rust side is a BaseException of a class that cannot be imported; let loose,
        # it would end the task that counts.
        if type(error).__name__ != "PanicException":
            raise
        raise VocabularyError(
            f"{encoding.name} could not count a text of {len(text)} characters"
        ) from error
