"""Requests: what is read from them, what is refused and how, and that other parsers read the
same."""

from __future__ import annotations

import json
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.contract import Call
from proxy.core.dialects.openai_chat.call import read_call
from proxy.core.dialects.openai_chat.pictures import Picture
from proxy.core.dialects.request_fields import forbid_fields
from proxy.core.errors import ProxyError
from proxy.core.steering import STEERING_FIELDS
from tests.support.effort import examples

FIXED = settings(max_examples=examples(400))
CHAT = "/v1/chat/completions"


def refusal(body: bytes, allow_fields: tuple[str, ...] | None = ()) -> ProxyError:
    with pytest.raises(ProxyError) as refused:
        call = read_call(CHAT, body)
        if allow_fields is not None:
            forbid_fields(call.steering, allow_fields)
    return refused.value


def test_a_call_is_read_whole() -> None:
    body = json.dumps(
        {
            "model": "deepseek-v3.2", "messages": [{"role": "user", "content": "{\"model\": \"x\"} 好"}], "stream": True, "n": 3, "max_tokens": 5,
            "max_completion_tokens": 70, "stream_options": {"include_usage": False}, "user": "u", "safety_identifier": "s", "service_tier": "flex",
            "metadata": {"feature": "x", "count": 1},
        }
    ).encode()  # fmt: skip
    read = read_call(CHAT, body)
    assert (
        read.endpoint,
        read.model,
        read.stream,
        read.n,
        read.max_tokens,
        read.include_usage,
    ) == (CHAT, "deepseek-v3.2", True, 3, 70, False)
    assert (read.user, read.safety_identifier, read.service_tier, read.metadata) == (
        "u",
        "s",
        "flex",
        {"feature": "x"},
    )
    assert {name: json.loads(body[start:end]) for name, (start, end) in read.spans.items()} == {
        "model": "deepseek-v3.2", "stream": True, "stream_options": {"include_usage": False},
    }  # fmt: skip
    assert body[: read.object_start] == b"{"
    assert read_call("/v1/embeddings", b' \n{ "model" : "m" , "input" : [ 1 , 2 ] } ') == Call(
        endpoint="/v1/embeddings",
        model="m",
        answers=0,
        writes_text=False,
        prompt_bytes=42,
        spans={"model": (14, 17)},
        object_start=3,
    )


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (
            "n",
            [
                ("0", None),
                ("-1", None),
                ("1", 1),
                ("128", 128),
                ("1.0", None),
                ("1e2", None),
                ('"5"', None),
                ("true", None),
                ("null", None),
                ("[1]", None),
            ],
        ),
        (
            "n",
            [
                ("9007199254740992", 2**53),
                ("9007199254740993", None),
                ("1" * 500, None),
                ("1e999999", None),
                ("{}", None),
            ],
        ),
        (
            "max_tokens",
            [
                ("0", 0),
                ("-0", None),
                ("64000", 64000),
                ('"64000"', None),
                ("12.5", None),
                ("null", None),
                ("9" * 5000, None),
            ],
        ),
        ("max_completion_tokens", [("0", 0), ("5", 5), ("false", None)]),
        ("stream", [("true", True), ("false", False), ("null", False)]),
        (
            "stream_options",
            [
                ("null", None),
                ("{}", None),
                ('{"include_usage":true}', True),
                ('{"include_usage":null}', None),
                ('{"include_usage":1}', None),
            ],
        ),
        (
            "stream_options",
            [("[]", None), ('"x"', None), ('{"other":1, "include_usage" : false }', False)],
        ),
        (
            "user",
            [
                ('"u"', "u"),
                ("5", None),
                ("null", None),
                ("{}", None),
                ('"\\u00e9"', "é"),
                ('""', ""),
            ],
        ),
        ("safety_identifier", [('"s"', "s"), ("[]", None)]),
        ("service_tier", [('"flex"', "flex"), ("1", None)]),
        (
            "metadata",
            [
                ("null", {}),
                ("[]", {}),
                ('{"a":"b","c":1,"d":null}', {"a": "b"}),
                ('{"a":"' + "x" * 70_000 + '"}', {}),
            ],
        ),
    ],
)
def test_a_value_of_an_odd_type_counts_as_not_named(
    field: str, expected: list[tuple[str, object]]
) -> None:
    name = {"stream_options": "include_usage", "max_completion_tokens": "max_tokens"}.get(
        field, field
    )
    for value, read in expected:
        assert (
            getattr(
                read_call(CHAT, b'{"model":"m","%b":%b}' % (field.encode(), value.encode())), name
            )
            == read
        ), value


@pytest.mark.parametrize(
    ("caps", "expected"),
    [
        ('"max_tokens":5,"max_completion_tokens":7', 7),
        ('"max_tokens":9,"max_completion_tokens":7', 9),
        ('"max_tokens":9,"max_completion_tokens":null', 9),
        ('"max_tokens":9,"max_completion_tokens":"7"', None),
        ('"max_tokens":-9,"max_completion_tokens":7', None),
    ],
)
def test_of_two_caps_the_larger_counts_and_none_if_one_cannot_be_told(
    caps: str, expected: int | None
) -> None:
    assert read_call(CHAT, b'{"model":"m",%b}' % caps.encode()).max_tokens == expected


DEEP = 100_000
REFUSED = [
    # body, code, param, what the message says to do
    (b"", "invalid_request", None, "JSON object"),
    (b"{", "invalid_request", None, "JSON object"),
    (b"null", "invalid_request", None, "JSON object"),
    (b"[]", "invalid_request", None, "not an object"),
    (b'"model"', "invalid_request", None, "not an object"),
    (b'{"model":"m"}x', "invalid_request", None, "at byte 14"),
    (b'\xef\xbb\xbf{"model":"m"}', "invalid_request", None, "JSON object"),
    ('{"model":"m"}'.encode("utf-16"), "invalid_request", None, "JSON object"),
    (b'{"model":"m","x":NaN}', "invalid_request", None, "not valid JSON"),
    (b'{"model":"m","x":-Infinity}', "invalid_request", None, "not valid JSON"),
    (b'{"model":"m",}', "invalid_request", None, "not valid JSON"),
    (b'{"model":"m","\xff":1}', "invalid_request", None, "UTF-8"),
    (b'{"model":"m","x":"\\ud800', "invalid_request", None, "not valid JSON"),
    (b'{"model":"m","x":' + b"[" * DEEP + b"]" * DEEP + b"}", "invalid_request", None, "nested too deeply"),
    (b'{"model":"m","x":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}", "invalid_request", None, "nested too deeply"),
    (b"[" * DEEP, "invalid_request", None, ""),
    (b"{}", "invalid_request", "model", "/v1/models"),
    (b'{"messages":[]}', "invalid_request", "model", "/v1/models"),
    (b'{"model":null}', "invalid_request", "model", "must be a string"),
    (b'{"model":5}', "invalid_request", "model", "must be a string"),
    (b'{"model":["m"]}', "invalid_request", "model", "must be a string"),
    (b'{"model":"\xff"}', "invalid_request", None, "UTF-8"),
    # in what nobody here reads
    (b'{"model":"m","x":"\xff"}', "invalid_request", None, "UTF-8"),
    # half a character
    (b'{"model":"m","x":["\xed\xa0\xbd"]}', "invalid_request", None, "UTF-8"),
    (b'{"model":"m","x":"\xf0\x9f"}', "invalid_request", None, "UTF-8"),
    # a vendor that trims runs `m`
    (b'{"model":" m"}', "invalid_request", "model", "blank"),
    (b'{"model":"m\\u0020"}', "invalid_request", "model", "blank"),
    (b'{"model":"m\xe2\x80\x8b"}', "invalid_request", "model", "printable"),
    (b'{"model":"m\\ud800"}', "invalid_request", "model", "must be a string"),
    (b'{"model":""}', "invalid_request", "model", "1 to 256"),
    (b'{"model":" "}', "invalid_request", "model", "1 to 256"),
    (b'{"model":"a\\nb"}', "invalid_request", "model", "printable"),
    (b'{"model":"%b"}' % (b"x" * 257), "invalid_request", "model", "1 to 256"),
    (b'{"model":"m","stream":"true"}', "invalid_request", "stream", "true or false"),
    (b'{"model":"m","stream":1}', "invalid_request", "stream", "true or false"),
    (b'{"model":"cheap","MODEL":"dear"}', "ambiguous_body", "model", "exactly as"),
    (b'{"MODEL":"dear"}', "ambiguous_body", "model", "exactly as"),
    (b'{"model":"cheap","model":"dear"}', "ambiguous_body", "model", "once"),
    (b'{"model":"same","model":"same"}', "ambiguous_body", "model", "once"),
    (b'{"model":"cheap","mod\\u0065l":"dear"}', "ambiguous_body", "model", "once"),
    (b'{"model":"m","n":1,"n":12}', "ambiguous_body", "n", "once"),
    (b'{"model":"m","n":12,"n":1}', "ambiguous_body", "n", "once"),
    (b'{"model":"m","temperature":1,"temperature":2}', "ambiguous_body", None, "once"),
    (b'{"model":"m","\xc5\xbftream":true}', "ambiguous_body", "stream", "another case"),
    (b'{"model":"m","max_to\xe2\x84\xaaens":5}', "ambiguous_body", "max_tokens", "another case"),
    (b'{"model":"m","\\u0053tream":true}', "ambiguous_body", "stream", "another case"),
    # a reader in C stops there
    (b'{"model":"m","model\\u0000":"dear"}', "ambiguous_body", "model", "other signs"),
    (b'{"model":"m","model\\u0000x":"dear"}', "ambiguous_body", "model", "other signs"),
    (b'{"model":"m"," model":"dear"}', "ambiguous_body", "model", "other signs"),
    # Google's readers take either
    (b'{"model":"m","maxTokens":5}', "ambiguous_body", "max_tokens", "exactly as"),
    (b'{"model":"m","service-tier":"flex"}', "ambiguous_body", "service_tier", "exactly as"),
    # its first letter is a wide one
    (b'{"model":"m","\xef\xbd\x8dodel":"dear"}', "ambiguous_body", "model", "exactly as"),
    (b'{"model":"m","stream_options":{"include_usage":true,"includeUsage":false}}', "ambiguous_body", "stream_options", "another case"),
    (b'{"model":"m","stream_options":{"include_usage":true,"include_usage":false}}', "ambiguous_body", "stream_options", "twice"),
    (b'{"model":"m","stream_options":{"include_usage":true,"Include_Usage":false}}', "ambiguous_body", "stream_options", "another case"),
    (b'{"model":"m",' + b",".join(b'"a%d":1' % at for at in range(60000)) + b"}", "invalid_request", None, "outside of messages"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "code", "param", "says"), REFUSED, ids=[repr(row[0][:60]) for row in REFUSED]
)
def test_what_cannot_be_read_for_sure_is_refused_with_what_to_do(
    body: bytes, code: str, param: str | None, says: str
) -> None:
    error = refusal(body)
    assert (error.status, error.type, error.code, error.param) == (
        400,
        "invalid_request_error",
        code,
        param,
    )
    assert says in error.message


@pytest.mark.parametrize(
    "name",
    [
        "model",
        "models",
        "stream",
        "stream_options",
        "n",
        "max_tokens",
        "max_completion_tokens",
        "service_tier",
        "user",
        "metadata",
    ],
)
def test_each_guarded_name_is_taken_in_its_own_spelling_only(name: str) -> None:
    for other in (name.upper(), name.capitalize(), name[:-1] + name[-1].upper()):
        error = refusal(json.dumps({"model": "m", other: None}).encode(), None)
        assert (error.status, error.code, error.param) == (400, "ambiguous_body", name)


@pytest.mark.parametrize("name", sorted(STEERING_FIELDS))
def test_fields_that_choose_behind_our_back_are_forbidden_unless_allowed(name: str) -> None:
    body = json.dumps({"model": "m", name: ["x"]}).encode()
    error = refusal(body)
    assert (error.status, error.type, error.code, error.param) == (
        403,
        "invalid_request_error",
        "field_not_allowed",
        name,
    )
    assert "Remove it" in error.message
    assert (
        refusal(json.dumps({"model": "m", name.upper(): ["x"]}).encode()).code == "ambiguous_body"
    )
    assert refusal(body, tuple(STEERING_FIELDS - {name})).status == 403
    read = read_call(CHAT, body)
    assert read.steering == (name,)
    forbid_fields(read.steering, (name,))
    with pytest.raises(ProxyError, match="field_not_allowed"):
        forbid_fields(read.steering, ())


@pytest.mark.parametrize(
    "member",
    [
        '"context_window_fallbacks":[]', '"providerOptions":{"gateway":{"order":["x"]}}', '"apiBase":"http://h"', '"Api-Key":"k"', '"vertex_credentials":"x"',
        '"bootstrap_host":"h"', '"aws_role_name":"r"', '"extra_body":{"model":"dear"}', '"extra_body":{"Model":"dear"}', '"extra_body":{"fallbacks":["dear"]}',
        '"extra_body":{"google":{},"extra_body":{"api_base":"h"}}', '"extra_body":{"extra_body":{"model":"dear"},"extra_body":{}}',
        '"tools":[{"type":"function"},{"type":"openrouter:advisor","parameters":{"model":"dear"}}]', '"advisor":{"mode":"auto","MODEL":"dear"}',
        '"extra_body":{"max_tokens":100000}',
        '"EXTRA_BODY":{"model":"dear"}', '"extra_body":{"extra_body":{"extra_body":{"extra_body":{"extra_body":{"extra_body":{}}}}}}',
    ],
)  # fmt: skip
def test_a_member_that_chooses_a_host_a_key_or_a_model_is_forbidden_wherever_it_stands(
    member: str,
) -> None:
    error = refusal(b'{"model":"m",%b}' % member.encode())
    assert (error.status, error.code) == (403, "field_not_allowed")
    read = read_call(CHAT, b'{"model":"m",%b}' % member.encode())
    with pytest.raises(ProxyError, match="field_not_allowed"):
        forbid_fields(read.steering, ())


@pytest.mark.parametrize("model", ["gpt-4o,o1-pro", "openai/gpt-4o@preset/dear", "@PRESET/dear"])
def test_a_model_that_stands_for_others_is_forbidden_unless_allowed(model: str) -> None:
    body = json.dumps({"model": model}).encode()
    error = refusal(body)
    assert (error.status, error.code) == (403, "field_not_allowed") and "`model`" in error.message
    assert read_call(CHAT, body).model == model


@pytest.mark.parametrize(
    "member",
    [
        '"extra_body":{"google":{"thinking_config":{"model":"x"}}}',
        '"extra_body":null',
        '"extra_body":[{"model":"x"}]',
        '"metadata":{"model":"x"}',
    ],
)
def test_what_only_looks_like_it_passes(member: str) -> None:
    assert read_call(CHAT, b'{"model":"m",%b}' % member.encode()).steering == ()


def test_a_refusal_does_not_repeat_what_it_refuses() -> None:
    for body in (
        b'{"model":"m","CANARY":1,"CANARY":2}',
        b'{"model":"m","x":"CANARY',
        b'{"CANARY":1}',
        b'{"model":["CANARY"]}',
        b'["CANARY"]',
        b"CANARY",
    ):
        assert "CANARY" not in refusal(body).message


def test_a_string_cut_inside_an_emoji_is_no_reason_to_refuse() -> None:
    body = b'{"x":"\\ud83d","y":"\\ud83d\\ude00\\\\ud83d \\udc00","model":"m","z":"\\uD83Dx"}'
    read = read_call(CHAT, body)
    assert read.model == "m"
    assert body[slice(*read.spans["model"])] == b'"m"'


def test_lone_surrogates_in_bulk_are_no_accident() -> None:
    assert refusal(b'{"model":"m","x":"' + b"\\ud83d" * 5000 + b'"}').code == "invalid_request"
    assert read_call(CHAT, b'{"model":"m","x":"' + b"\\ud83d" * 500 + b'"}').model == "m"


def test_inlined_files_say_nothing_about_tokens() -> None:
    text = b'{"model":"m","x":"hello"}'
    image = b'{"type":"image_url","image_url":{"url":"data:image/png;base64,%b"}}' % (
        b"/9j/" + b"A" * 99_996
    )
    assert (read_call(CHAT, text).prompt_bytes, read_call(CHAT, text).media) == (len(text), False)
    body = b'{"model":"m","messages":[{"content":[%b,%b]}]}' % (image, image)
    read = read_call(CHAT, body)
    assert (read.prompt_bytes, read.pictures, read.media) == (
        len(body) - 200_000,
        (Picture(), Picture()),
        True,
    )


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (b'{"model":"m","x":{"image_url":{"url":"https://x/y.png"}}}', True),
        (b'{"model":"m","x":{"type":"input_audio","input_audio":{}}}', True),
        (b'{"model":"m","x":"an image_url"}', False),
        (
            b'{"model":"m","x":"%b"}' % (b"A" * 2**20),
            True,
        ),  # not looked for in a large body, so there may be
    ],
)
def test_what_is_not_text_is_seen(body: bytes, media: bool) -> None:
    assert read_call(CHAT, body).media == media


def test_a_body_of_nothing_but_names_is_refused_before_it_is_built() -> None:
    """A body of nothing but names would cost 15 times its size; one that is only large is read as
    any other."""
    big = json.dumps(
        {
            "model": "m",
            "messages": [{"role": "user", "content": '"' * 20 + "{[,]}"} for _ in range(5000)],
        }
    ).encode()
    assert big.count(b'"') > 100_000
    assert read_call(CHAT, big).model == "m"
    assert read_call(CHAT, b'{"model":"m","document":"' + b'\\"' * 100_000 + b'"}').model == "m"
    names = (
        b'{"model":"m",'
        + b",".join(b'"a%d":{"messages":"]},"}' % at for at in range(30_000))
        + b"}"
    )
    tracemalloc.start()
    try:
        assert "outside of messages" in refusal(names).message
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


# Against another reader: Go's encoding/json matches names without case, and the last one wins.


def fold(name: str) -> str:
    """Go's simple folding, as far as ASCII names are concerned: the long s and the Kelvin sign are
    s and k."""
    return name.replace("\u017f", "s").replace("\u212a", "k").lower()


def read_like_go(body: bytes) -> dict[str, object]:
    wanted = ("model", "stream", "n", "max_tokens", "max_completion_tokens")
    seen: dict[str, object] = {}
    for name, value in json.loads(body.decode("utf-8", "replace"), object_pairs_hook=list):
        if fold(name) in wanted:
            seen[fold(name)] = value
    return seen


def whole(value: object, minimum: int) -> int | None:
    return (
        value
        if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= 2**53
        else None
    )


def check_against_go(body: bytes) -> bool:
    try:
        read = read_call(CHAT, body)
    except ProxyError as error:
        assert error.status in (400, 403)
        assert len(error.message) > 20
        return False
    theirs = read_like_go(body)
    assert read.model == theirs["model"]
    assert read.stream == (theirs.get("stream") is True)
    assert read.n == whole(theirs.get("n"), 1)
    caps = [
        theirs[name]
        for name in ("max_tokens", "max_completion_tokens")
        if theirs.get(name) is not None
    ]
    known = [whole(cap, 0) for cap in caps]
    assert read.max_tokens == (
        max([cap for cap in known if cap is not None], default=None) if None not in known else None
    )
    return True


NAMES = st.sampled_from(
    [
        "model",
        "MODEL",
        "mod\u212a",
        "stream",
        "\u017ftream",
        "Stream",
        "n",
        "N",
        "max_tokens",
        "max_to\u212aens",
        "max_completion_tokens",
        "x",
        "messages",
        'a"b',
        "a\\",
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            "m",
            "gpt-4o",
            True,
            False,
            None,
            1,
            5,
            0,
            -1,
            2**53,
            2**70,
            1.5,
            "5",
            [],
            {},
            [1, {"model": "x"}],
            {"model": "x"},
            ']}",',
        ]
    )
)
SPACES = st.sampled_from(["", " ", "\n\t", "\r\n "])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Objects with names that occur twice, in other cases and escaped, and with spaces anywhere."""
    pairs = draw(st.lists(st.tuples(NAMES, VALUES), max_size=6))
    if draw(st.booleans()):
        pairs.insert(draw(st.integers(0, len(pairs))), ("model", "m"))
    text = []
    for name, value in pairs:
        quoted = json.dumps(name, ensure_ascii=draw(st.booleans()))
        if draw(st.integers(0, 9)) == 0:
            quoted = '"' + "".join(f"\\u{ord(char):04x}" for char in name) + '"'
        text.append(
            draw(SPACES)
            + quoted
            + draw(SPACES)
            + ":"
            + draw(SPACES)
            + json.dumps(value)
            + draw(SPACES)
        )
    return (draw(SPACES) + "{" + (",".join(text) or draw(SPACES)) + "}" + draw(SPACES)).encode()


@FIXED
@given(bodies())
def test_what_is_accepted_reads_the_same_in_go(body: bytes) -> None:
    check_against_go(body)


def test_the_comparison_with_go_accepts_and_refuses() -> None:
    assert check_against_go(b'{"model":"m","n":2,"stream":true,"max_tokens":5}')
    assert not check_against_go(b'{"model":"cheap","MODEL":"dear"}')


@FIXED
@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_refusal(body: bytes) -> None:
    check_against_go(body)


def test_no_damaged_request_raises_anything_but_a_refusal() -> None:
    body = b'{"model":"m\\u00e9","messages":[{"role":"user","content":"\xe5\xa5\xbd \\ud83d\\ude00"}],"stream":true,"stream_options":{"include_usage":true},"n":2,"metadata":{"a":"b"}}'
    rng = random.Random(7)
    accepted = 0
    for _ in range(20_000):
        damaged = bytearray(body)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(damaged))
            damaged[at : at + rng.randint(0, 2)] = bytes(
                rng.choice(b'"\\{}[]:,\x00\xff\n 1eudmM') for _ in range(rng.randint(0, 2))
            )
        try:
            accepted += check_against_go(bytes(damaged))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise AssertionError(
                f"accepted what another reader cannot read: {bytes(damaged)!r}"
            ) from error
    assert accepted > 100
