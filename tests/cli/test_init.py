"""`tollkeeper init`: writes what is not there, and nothing over what is."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.cli.shipped import files


def test_a_directory_is_set_up_and_what_to_do_next_is_said(call, home: Path):
    made = call("init", "new/place")
    assert made.exit_code == 0
    assert {
        path.relative_to(home / "new/place").as_posix(): path.read_bytes()
        for path in (home / "new/place").rglob("*")
        if path.is_file()
    } == files()
    for command in (
        "key hash --new",
        "check -c new/place/config.yaml --connect",
        "serve -c new/place/config.yaml",
    ):
        assert command in made.stdout
    assert call("check", "-c", "new/place/config.yaml").exit_code == 0


def test_nothing_is_overwritten_unless_forced(call, home: Path):
    call("init", "here")
    assert call("init", "here").exit_code == 0, "the same files again are no change"
    edited = home / "here" / "config.yaml"
    edited.write_text("mine")
    (home / "here/dashboards/grafana/tollkeeper-spend.json").unlink()
    refused = call("init", "here")
    assert (
        refused.exit_code == 1 and "config.yaml" in refused.stderr and "--force" in refused.stderr
    )
    assert (
        edited.read_text() == "mine"
        and not (home / "here/dashboards/grafana/tollkeeper-spend.json").exists()
    )
    assert call("init", "here", "--force").exit_code == 0
    assert edited.read_bytes() == files()["config.yaml"]


@pytest.mark.parametrize("words", [(), ("config.yaml",), ("config.yaml/below",)])
def test_a_place_that_is_none_is_told(call, words: tuple[str, ...]):
    result = call("init", *words)
    assert result.exit_code in (1, 2) and "Traceback" not in result.output and result.stderr
