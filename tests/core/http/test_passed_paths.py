"""Paths that are passed through: whole segments, nothing that two servers read differently."""

from __future__ import annotations

import pytest

from proxy.core.http.passed_paths import object_of, read_pattern, segments

MEANT = [
    ("/v1/files", "/v1/files", ()),
    ("/v1/files", "/v1/files/file-1", None),
    ("/v1/files*", "/v1/files", ()),
    ("/v1/files*", "/v1/files/file-1/content", ("file-1", "content")),
    ("/v1/files*", "/v1/filesystem", None),
    ("/v1/files*", "/v1/file", None),
    ("/v1/files*", "/V1/files", None),
    ("/v1/files/*", "/v1/files", None),
    ("/v1/files/*", "/v1/files/file-1", ("file-1",)),
    ("/v2/rerank", "/v2/rerank", ()),
]


@pytest.mark.parametrize(("text", "path", "rest"), MEANT)
def test_a_pattern_means_whole_segments(text: str, path: str, rest: tuple[str, ...] | None) -> None:
    pattern = read_pattern(text)
    parts = segments(path)
    assert pattern is not None and parts is not None
    assert pattern.rest(parts) == rest


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/..",
        "/v1/files/../models",
        "/v1/files/./x",
        "/v1/files/.hidden",
        "/v1/files/%2e%2e/models",
        "/v1/files/%2E%2E%2Fmodels",
        "/v1/files/a%2Fb",
        "/v1/files/a%5Cb",
        "/v1/files/a\\b",
        "/v1/files/%252e%252e",
        "/v1/files/a%00",
        "/v1/files/a%0d%0a",
        "/v1/files/..;/models",
        "/v1/files/a;b=c",
        "/v1/files/a%3Fb",
        "/v1/files/a%23b",
        "/v1/files//a",
        "/v1/files/",
        "/v1/files/%C0%AE%C0%AE",
        "/v1/files/%ff",
        "/v1/files/%E2%80%AE",
        "/v1/files/*",
        "/v1/files/" + "x" * 257,
        "/v1" + "/a" * 17,
        "v1/files",
        "",
        "/",
    ],
)
def test_a_strange_segment_is_no_path(path: str) -> None:
    assert segments(path) is None


def test_an_encoded_letter_is_the_letter_and_the_path_stays_as_it_came() -> None:
    assert segments("/v1/files/file%2Dabc%3A1") == ("v1", "files", "file%2Dabc%3A1")
    assert object_of(("file%2Dabc%3A1", "content")) == "file-abc:1"


@pytest.mark.parametrize(
    ("rest", "found"),
    [
        ((), None),
        (("transcriptions",), None),
        (("file-1",), "file-1"),
        (("fileabc", "content"), "fileabc"),  # a word of an API is known, everything else is an id
        (("generations", "gen_1"), "gen_1"),
    ],
)
def test_the_object_that_a_path_names(rest: tuple[str, ...], found: str | None) -> None:
    assert object_of(rest) == found
