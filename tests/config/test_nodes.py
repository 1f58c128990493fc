"""YAML's traps: what a scalar means, what is refused, and that no text makes the reader raise."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.config.nodes import Fraction, Missing, Node, Problem, expand, parse, scalar


def plain(node: Node | None) -> object:
    assert node is not None
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("0", 0),
        ("12", 12),
        ("-3", -3),
        ("1_000", 1000),
        ("0123", "0123"),
        ("0x1f", "0x1f"),
        ("0o17", "0o17"),
        ("9" * 40, "9" * 40),
        ("1.5", Fraction("1.5")),
        (".5", Fraction(".5")),
        ("1.", Fraction("1.")),
        ("1e3", Fraction("1e3")),
        ("2.50", Fraction("2.50")),
        ("1.2.3", "1.2.3"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("12:30:45", "12:30:45"),
        ("2026-01-01", "2026-01-01"),
        ("10s", "10s"),
        (".", "."),
    ],
)
def test_what_an_unquoted_word_means(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_quotes_make_text_and_places_are_kept() -> None:
    tree, problems = parse("a: '1'\nb:\n  - \"true\"\n  - {c: 2}\n1: x\noff: y\n", "f")
    assert problems == []
    assert plain(tree) == {"a": "1", "b": ["true", {"c": 2}], "1": "x", "off": "y"}
    assert tree is not None
    assert isinstance(tree.value, dict)
    assert [node.where for node in tree.value.values()] == ["f:1", "f:2", "f:5", "f:6"]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (
            "a: 1\na: 2\nb: {c: 1, c: 2}\n1: x\n'1': y",
            [
                "f:2: a: duplicate key, first at f:1",
                "f:3: b.c: duplicate key",
                "f:5: 1: duplicate key",
            ],
        ),
        ("a: {<<: {b: 1}}", ["f:1: a.<<: merge keys"]),
        ("a: !secret x", ["f:1: a: the tag !secret is not allowed"]),
        ("a: {? [x] : y}", ["f:1: a: a key must be a plain word"]),
        ("a: &a [*a]", ["f:1: a[0]"]),
        ("a: &a {b: *a}", ["f:1: a.b"]),
        (
            "x: &a [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n"
            + "".join(
                f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n"
                for before, name in ["ab", "bc", "cd", "de", "ef"]
            ),
            [""],
        ),
        ("a: " + "[" * 60 + "]" * 60, ["nested deeper than 50 levels"]),
        ("a: " + "[" * 1500 + "]" * 1500, ["nested deeper than 50 levels"]),
        ("a: [", ["not readable as YAML"]),
        ("a: *nobody", ["not readable as YAML"]),
    ],
)
def test_what_is_refused(text: str, places: list[str]) -> None:
    _, problems = parse(text, "f")
    assert len(problems) == len(places)
    for problem, place in zip(problems, places, strict=True):
        assert place in str(problem)


@given(st.one_of(st.text(), st.text("ab:- {}[]&*!|>'\"\n#?,%@`<$~01.", max_size=60)))
@example("\x00")
@example("%YAML 9.9\n---\n")
@example("a: \ud800")
def test_no_text_makes_the_parser_raise(text: str) -> None:
    tree, problems = parse(text, "f")
    assert tree is not None or problems


ENVIRON = {"A": "one", "EMPTY": "", "NESTED": "${A}"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${A}", "one"),
        ("x${A}y${A}", "xoneyone"),
        ("${A:-two}", "one"),
        ("${EMPTY:-two}", "two"),
        ("${EMPTY}", ""),
        ("${NO:-}", ""),
        ("${NO:-a:-b}", "a:-b"),
        ("$A", "$A"),
        ("$${A}", "${A}"),
        ("$$", "$$"),
        ("${NESTED}", "${NESTED}".replace("NESTED", "A")),
    ],
)
def test_variables(text: str, filled: str) -> None:
    missing: list[Missing] = []
    problems: list[Problem] = []
    node = expand(
        Node({"k": Node([Node(text, "f:1", text)], "f:1")}, "f:1"), ENVIRON, missing, problems
    )
    assert plain(node) == {"k": [filled]}
    assert not missing
    assert not problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "${NO}",
            "f:1: k[0]: the environment variable NO is not set; set it, or write ${NO:-} to allow it to be empty",
        ),
        ("${}", "f:1: k[0]: a variable is written"),
        ("${A", "f:1: k[0]: a variable is written"),
        ("${A-b}", "f:1: k[0]: a variable is written"),
    ],
)
def test_variables_that_cannot_be_filled_in(text: str, expected: str) -> None:
    missing: list[Missing] = []
    problems: list[Problem] = []
    expand(Node({"k": Node([Node(text, "f:1", text)], "f:1")}, "f:1"), ENVIRON, missing, problems)
    (told,) = [*problems, *(entry.problem() for entry in missing)]
    assert str(told).startswith(expected)
