"""A request as its upstream will read it: the model and the few fields that the proxy decides on,
or a refusal.

JSON parsers disagree: some match names without case (Go), some take the first of two equal names
and some the last. A body that two parsers could read
differently in a field that decides about access or price is refused, so that what was checked is
what is run. One decode into `dict[str, Raw]` and one walk
over the body against it prove that no top-level name occurs twice, and give each value's exact
offsets.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection

import msgspec

from proxy.core.dialects.names import squeezed
from proxy.core.dialects.openai_chat.bounds import answers_max, holds_media
from proxy.core.dialects.openai_chat.inside import EXTRA, VALUES, steers_inside
from proxy.core.dialects.openai_chat.pictures import Picture, inlined
from proxy.core.dialects.scan import Ambiguous, repair_surrogates, walk
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.steering import STEERING_FIELDS, steering_field

_GUARDED = frozenset(
    {
        "model",
        "models",
        "stream",
        "stream_options",
        "n",
        "best_of",
        "max_tokens",
        "max_completion_tokens",
        "service_tier",
        "user",
        "metadata",
    }
)
_NAMES = {
    squeezed(name): name for name in _GUARDED
}  # as any reader may know them, to as the API spells them
# What nearly every request is made of: names that neither steer nor stand for another one.
_SETTLED = frozenset(
    name for name in VALUES if not steering_field(name) and _NAMES.get(squeezed(name), name) == name
)
_SPLICED = ("model", "stream", "stream_options")
_JSON_ERRORS = (
    msgspec.DecodeError,
    UnicodeDecodeError,
    RecursionError,
)  # RecursionError: nesting near 1,000
_INTEGER = re.compile(rb"[0-9]{1,16}")
_INTEGER_MAX = 2**53  # what every JSON reader holds exactly
_MODEL_CHARS_MAX = 256  # it becomes a row and a label
_METADATA_BYTES_MAX = 64 * 1024  # OpenAI allows 16 pairs of 64 + 512 characters
# outside of _Bulk: each top-level name has two, and costs 15 times its size when decoded
_QUOTES_MAX = 65_536
_NAME_SHOWN_CHARS = 64
# What gateways read from the name of the model itself: LiteLLM a list of models, OpenRouter a
# preset, which may hold another model.
_SAID_IN_MODEL = {"models": " (or a comma in `model`)", "preset": " (or `@preset/` in `model`)"}
_UTF8_STEP_BYTES = 2**20  # checked at a time: a body of emoji takes four times its size as text
_Fields = dict[str, msgspec.Raw]


class _Bulk(msgspec.Struct, gc=False):
    """The fields that may hold many strings; decoding them to Raw costs nothing."""

    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    functions: msgspec.Raw = msgspec.Raw()
    response_format: msgspec.Raw = msgspec.Raw()


_bulk_decoder = msgspec.json.Decoder(_Bulk)
_fields_decoder = msgspec.json.Decoder(_Fields)
_string_decoder = msgspec.json.Decoder(str)


class Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a request asks for. None is "not named"; a value of an unexpected type counts as not
    named.

    `max_tokens` is the larger of max_tokens and max_completion_tokens. `steering` are the
    STEERING_FIELDS in the body. `prompt_bytes`: of the body, without what is proved to be
    a picture or a sound (base64 says nothing about tokens), which are `pictures` and `sound_bytes`,
    at the places `inlined`; `answers`: how many it may get at most, None where that cannot be told.
    `media`: it holds or fetches more than its own text (images, sounds, files, searches), whose
    tokens nothing in it tells.
    `echo`: the answer is asked to begin with what was sent.
    `spans` gives [start, end) of the values of model, stream and stream_options in the body,
    `object_start` the offset behind its `{`.
    """

    endpoint: str
    model: str
    stream: bool = False
    n: int | None = None
    answers: int | None = None
    max_tokens: int | None = None
    include_usage: bool | None = None
    service_tier: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] = {}
    steering: tuple[str, ...] = ()
    prompt_bytes: int = 0
    pictures: tuple[Picture, ...] = ()
    sound_bytes: int = 0
    inlined: tuple[tuple[int, int], ...] = ()
    media: bool = False
    echo: bool = False
    spans: dict[str, tuple[int, int]] = {}
    object_start: int = 0

    @property
    def cap(self) -> int | None:
        """The most tokens that each answer may have, as far as the request says: servers in Go read
        0 as if none were named."""
        return self.max_tokens if self.max_tokens != 0 else None


def read_call(endpoint: str, body: bytes, allow_fields: Collection[str] | None = ()) -> Call:
    """The call that this body makes; ProxyError 400 `invalid_request` or `ambiguous_body`, 403
    `field_not_allowed`.

    `allow_fields` are the steering fields that its upstream allows. Where the model has yet to
    choose the upstream, pass None, which
    allows all, and call `forbid_fields` afterwards.
    """
    text, fields = _decode(body)
    try:
        spans, object_start = walk(text, fields)
    except Ambiguous as error:
        raise _ambiguous(error.name, "occurs twice") from None
    steering = _check_names(fields, allow_fields)
    inline = inlined(fields.get("messages"))
    messages_start = spans["messages"][0] if inline.spans else 0
    model = _model(
        fields,
        untouched=text is body
        or "model" not in spans
        or text[slice(*spans["model"])] == body[slice(*spans["model"])],
    )
    return Call(
        endpoint=endpoint,
        model=model,
        stream=_stream(fields),
        answers=answers_max(endpoint, fields),
        n=_at_least(_integer(fields.get("n")), 1),
        max_tokens=_max_tokens(fields),
        include_usage=_include_usage(fields),
        service_tier=_string(fields.get("service_tier")),
        user=_string(fields.get("user")),
        safety_identifier=_string(fields.get("safety_identifier")),
        metadata=_metadata(fields.get("metadata")),
        steering=steering + _said_in(model, allow_fields),
        prompt_bytes=len(body) - inline.size_bytes,
        pictures=inline.pictures,
        sound_bytes=inline.sound_bytes,
        inlined=tuple(
            (messages_start + start, messages_start + end) for start, end in inline.spans
        ),
        media=inline.size_bytes > 0 or holds_media(fields),
        echo=bytes(fields.get("echo", b"")) == b"true",
        spans={name: spans[name] for name in _SPLICED if name in spans},
        object_start=object_start,
    )


def forbid_fields(steering: Collection[str], allow_fields: Collection[str]) -> None:
    """ProxyError 403 if the body holds a steering field that the upstream's `allow_fields` does not
    list."""
    for name in steering:
        if name not in allow_fields:
            allowed = (
                f"Allowed here: {', '.join(sorted(allow_fields))}."
                if allow_fields
                else "The operator can allow it in `allow_fields` of the upstream."
            )
            shown = name[:_NAME_SHOWN_CHARS] if name.isprintable() else "?"
            message = (
                f"The field {shown!r}{_SAID_IN_MODEL.get(name, '')} can choose another model, vendor, host or key than was checked here, "
                f"and is not passed on. Remove it. {allowed}"
            )
            raise ProxyError(
                403, "invalid_request_error", "field_not_allowed", message, param=shown
            )


def _decode(body: bytes) -> tuple[bytes, _Fields]:
    """The top-level fields, and the text they were read from: the body, or a copy of equal length
    with lone surrogates replaced.

    JavaScript sends a lone surrogate whenever it has cut a string inside an emoji, and most vendors
    take it.
    """
    try:
        _check_utf8(body)
        _check_names_bounded(body)
        return body, _fields_decoder.decode(body)
    except _JSON_ERRORS as error:
        first = error
    repaired = repair_surrogates(body)
    if repaired is not None:
        try:
            return repaired, _fields_decoder.decode(repaired)
        except _JSON_ERRORS as error:
            first = error
    raise invalid_request(_why_unreadable(first)) from None


def _check_utf8(body: bytes) -> None:
    """UnicodeDecodeError for a body that is not UTF-8 anywhere, in what nobody here reads too:
    readers repair it in different ways."""
    if body.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    for at in range(0, len(body), _UTF8_STEP_BYTES):
        decoder.decode(body[at : at + _UTF8_STEP_BYTES])
    decoder.decode(b"", final=True)


def _check_names_bounded(body: bytes) -> None:
    """Refuse a large body made of names, which would cost many times its size, before it is
    decoded. Strings in the known large fields do not count."""
    if body.count(b'"') <= _QUOTES_MAX:
        return  # all that were, without a look for those that are escaped
    quotes = _quotes(body)
    bulk = _bulk_decoder.decode(body)
    for value in msgspec.structs.astuple(bulk):
        quotes -= _quotes(bytes(value))
    if quotes > _QUOTES_MAX:
        names = ", ".join(_Bulk.__struct_fields__)
        raise invalid_request(
            f"The request body holds more than {_QUOTES_MAX // 2} names and strings outside of {names}. Send only fields that the API knows."
        )


def _quotes(text: bytes) -> int:
    """Quotes that begin or end a string: at least one a name, since one behind a backslash may end
    a name but never begins one."""
    return text.count(b'"') - text.count(b'\\"')


def _why_unreadable(error: Exception) -> str:
    """What to do about a body that is not a JSON object, without quoting from it."""
    if isinstance(error, RecursionError):
        return "The request body is nested too deeply. Send a JSON object with less than a few hundred levels."
    if isinstance(error, UnicodeDecodeError):
        return "The request body is not valid UTF-8. Send a JSON object encoded as UTF-8."
    if isinstance(error, msgspec.ValidationError):
        return "The request body is JSON but not an object. Send a JSON object with a `model`."
    at = re.search(r"byte \d+", str(error))
    return f"The request body is not valid JSON{f' (at {at[0]})' if at else ''}. Send a JSON object with a `model`."


def _check_names(fields: _Fields, allow_fields: Collection[str] | None) -> tuple[str, ...]:
    """Refuse names that some reader would take for a guarded one; give back the steering fields
    that are there."""
    steering: list[str] = []
    for name, value in fields.items():
        if name in _SETTLED:
            continue
        folded, plain = name.casefold(), squeezed(name)
        if steering_field(name) or steers_inside(name, value):
            steers = folded if folded in STEERING_FIELDS or folded == EXTRA else name
            if allow_fields is not None:
                forbid_fields((steers,), allow_fields)
            steering.append(steers)
        known = _NAMES.get(plain, folded if folded in STEERING_FIELDS else name)
        if known != name:
            raise _ambiguous(known, "is spelt in another case or with other signs")
    return tuple(steering)


def _said_in(model: str, allow_fields: Collection[str] | None) -> tuple[str, ...]:
    """The steering fields that a model's name stands for."""
    found = ("models",) * ("," in model) + ("preset",) * ("@preset/" in model.casefold())
    if found and allow_fields is not None:
        forbid_fields(found, allow_fields)
    return found


def _ambiguous(name: str, what: str) -> ProxyError:
    # Only names known to the API are quoted: a name of the client's own could hold anything.
    known = name in _GUARDED or name in STEERING_FIELDS
    subject = f"The field {name!r} {what}" if known else f"A top-level field {what}"
    message = f"{subject} in the request body, which JSON parsers read differently. Send each field once, exactly as the API spells it."
    return invalid_request(message, param=name if known else None, code="ambiguous_body")


def _model(fields: _Fields, *, untouched: bool) -> str:
    if "model" not in fields:
        raise invalid_request(
            "The request body has no `model`. Name the model to use; GET /v1/models lists them.",
            param="model",
        )
    model = _string(fields["model"])
    if model is None or not untouched:
        raise invalid_request(
            "`model` must be a string. Name the model to use; GET /v1/models lists them.",
            param="model",
        )
    # A vendor that trims would run what was not checked: limits and prices go by the name.
    if (
        not model
        or model != model.strip()
        or len(model) > _MODEL_CHARS_MAX
        or not model.isprintable()
    ):
        message = f"`model` must be 1 to {_MODEL_CHARS_MAX} printable characters, without a blank at either end. Name the model to use; GET /v1/models lists them."
        raise invalid_request(message, param="model")
    return model


def _stream(fields: _Fields) -> bool:
    raw = fields.get("stream")
    if raw is None:
        return False
    text = bytes(raw)
    if text in (b"false", b"null"):
        return False
    if text == b"true":
        return True
    # Some servers read 1 or "true" as true and some refuse it: not ours to guess.
    raise invalid_request("`stream` must be true or false.", param="stream")


def _include_usage(fields: _Fields) -> bool | None:
    """What stream_options says about usage, with the same proof one level down: it decides about
    what is spliced."""
    raw = fields.get("stream_options")
    if raw is None:
        return None
    text = bytes(raw)
    try:
        options = _fields_decoder.decode(text)
    except _JSON_ERRORS:
        return None  # null, or nothing that states it
    try:
        walk(text, options)
    except Ambiguous:
        raise _ambiguous("stream_options", "holds a name twice") from None
    if any(
        name != "include_usage" and squeezed(name) == squeezed("include_usage") for name in options
    ):
        raise _ambiguous("stream_options", "holds include_usage in another case")
    return (
        {b"true": True, b"false": False}.get(bytes(options["include_usage"]))
        if "include_usage" in options
        else None
    )


def _max_tokens(fields: _Fields) -> int | None:
    """The larger cap, or None if there is none or one of the two cannot be told."""
    largest: int | None = None
    for name in ("max_tokens", "max_completion_tokens"):
        raw = fields.get(name)
        if raw is None or bytes(raw) == b"null":
            continue
        cap = _integer(raw)
        if cap is None:
            return None
        largest = cap if largest is None else max(largest, cap)
    return largest


def _integer(raw: msgspec.Raw | None) -> int | None:
    """A whole number in 0..2^53, else None: 5.0, "5" and true are read differently by different
    servers."""
    if raw is None:
        return None
    text = bytes(memoryview(raw)[:17])
    if _INTEGER.fullmatch(text) is None:
        return None
    number = int(text)
    return number if number <= _INTEGER_MAX else None


def _at_least(number: int | None, minimum: int) -> int | None:
    return number if number is not None and number >= minimum else None


def _string(raw: msgspec.Raw | None) -> str | None:
    if raw is None:
        return None
    try:
        return _string_decoder.decode(raw)
    except _JSON_ERRORS:
        return None


def _metadata(raw: msgspec.Raw | None) -> dict[str, str]:
    """The pairs of strings in `metadata`; whatever else it is, it is no reason to refuse."""
    if raw is None or memoryview(raw).nbytes > _METADATA_BYTES_MAX:
        return {}
    try:
        pairs = _fields_decoder.decode(raw)
    except _JSON_ERRORS:
        return {}
    texts = {name: _string(value) for name, value in pairs.items()}
    return {name: text for name, text in texts.items() if text is not None}
