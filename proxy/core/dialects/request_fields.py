"""The top level of a request body, read as its upstream will read it, or a refusal.

JSON parsers disagree: some match names without case (Go), some take the first of two equal names
and some the last. A body that two parsers could read differently in a field that decides about
access or price is refused, so that what was checked is what is run. One decode into `dict[str,
Raw]` and one walk over the body against it prove that no top-level name occurs twice, and give each
value's exact offsets.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Iterable, Mapping

import msgspec

from proxy.core.dialects.inside import EXTRA, VALUES, steers_inside
from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.names import squeezed
from proxy.core.dialects.scan import Ambiguous, count, repair_surrogates, walk
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.http.query import names_in
from proxy.core.steering import STEERING_FIELDS, steering_field, steering_parameter

_INTEGER = re.compile(rb"[0-9]{1,16}")
_INTEGER_MAX = 2**53  # what every JSON reader holds exactly
_MODEL_CHARS_MAX = 256  # it becomes a row and a label
_TEXTS_BYTES_MAX = 64 * 1024  # of `metadata`: OpenAI allows 16 pairs of 64 + 512 characters
# outside of _Bulk: each top-level name has two, and costs 15 times its size when decoded
_QUOTES_MAX = 65_536
_NAME_SHOWN_CHARS = 64
# What gateways read from the name of the model itself: LiteLLM a list of models, OpenRouter a
# preset, which may hold another model.
_SAID_IN_MODEL = {"models": " (or a comma in `model`)", "preset": " (or `@preset/` in `model`)"}
_UTF8_STEP_BYTES = 2**20  # checked at a time: a body of emoji takes four times its size as text
Values = dict[str, msgspec.Raw]


class _Bulk(msgspec.Struct, gc=False):
    """The fields that may hold many strings; decoding them to Raw costs nothing."""

    messages: msgspec.Raw = msgspec.Raw()
    system: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    functions: msgspec.Raw = msgspec.Raw()
    response_format: msgspec.Raw = msgspec.Raw()


_bulk_decoder = msgspec.json.Decoder(_Bulk)
_values_decoder = msgspec.json.Decoder(Values)
_string_decoder = msgspec.json.Decoder(str)


class Guarded:
    """The names of a wire that decide about access or price: each is spelt in one way only."""

    __slots__ = ("_by_squeezed", "names", "settled")

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        # as any reader may know them, to as the API spells them
        self._by_squeezed = {squeezed(name): name for name in self.names}
        # What nearly every request is made of: names that neither steer nor stand for another one.
        self.settled = frozenset(
            name
            for name in VALUES
            if not steering_field(name) and self._by_squeezed.get(squeezed(name), name) == name
        )

    def meant_by(self, name: str) -> str | None:
        """The guarded name that some reader would take this one for."""
        return self._by_squeezed.get(squeezed(name))


class RequestFields:
    """The top-level fields of one body.

    `values` by name. `spans`: [start, end) of each value in the body. `object_start`: the offset
    behind its `{`. `steering`: those that can choose another model, vendor, host or key.
    """

    __slots__ = ("_body", "_guarded", "_text", "object_start", "spans", "steering", "values")

    def __init__(self, body: bytes, guarded: Guarded) -> None:
        """Raises ProxyError 400 `invalid_request` or `ambiguous_body`.

        Steering fields are named here, and judged by `forbid_fields` once the model has chosen the
        upstream.
        """
        self._body = body
        self._guarded = guarded
        self._text, self.values = _decode(body)
        try:
            self.spans, self.object_start = walk(self._text, self.values)
        except Ambiguous as error:
            raise self.ambiguous(error.name, "occurs twice") from None
        self.steering = self._check_names()

    def _check_names(self) -> tuple[str, ...]:
        """The steering fields. Refuses names that some reader would take for a guarded one."""
        steering: list[str] = []
        settled = self._guarded.settled
        for name, value in self.values.items():
            if name in settled:
                continue
            folded = name.casefold()
            if steering_field(name) or steers_inside(name, value):
                steering.append(folded if folded in STEERING_FIELDS or folded == EXTRA else name)
            known = self._guarded.meant_by(name)
            if known is None:
                known = folded if folded in STEERING_FIELDS else name
            if known != name:
                raise self.ambiguous(known, "is spelt in another case or with other signs")
        return tuple(steering)

    def ambiguous(self, name: str, what: str) -> ProxyError:
        """400 `ambiguous_body`.

        Only names known to the API are quoted: a name of the client's own could hold anything.
        """
        known = name in self._guarded.names or name in STEERING_FIELDS
        subject = f"The field {name!r} {what}" if known else f"A top-level field {what}"
        message = (
            f"{subject} in the request body, which JSON parsers read differently. Send each field"
            " once, exactly as the API spells it."
        )
        return invalid_request(message, param=name if known else None, code="ambiguous_body")

    def model(self) -> str:
        """The model that is asked for.

        ProxyError 400 unless it is named in a form that is read in one way only.
        """
        if "model" not in self.values:
            raise invalid_request(
                "The request body has no `model`. Name the model to use; GET /v1/models lists"
                " them.",
                param="model",
            )
        model = self.string("model")
        span = slice(*self.spans["model"])
        untouched = self._text is self._body or self._text[span] == self._body[span]
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
            message = (
                f"`model` must be 1 to {_MODEL_CHARS_MAX} printable characters, without a blank at"
                " either end. Name the model to use; GET /v1/models lists them."
            )
            raise invalid_request(message, param="model")
        return model

    def stream(self) -> bool:
        """Whether a stream is asked for. ProxyError 400 where servers would read it differently."""
        raw = self.values.get("stream")
        if raw is None:
            return False
        text = bytes(raw)
        if text in (b"false", b"null"):
            return False
        if text == b"true":
            return True
        # Some servers read 1 or "true" as true and some refuse it: not ours to guess.
        raise invalid_request("`stream` must be true or false.", param="stream")

    def integer(self, name: str) -> int | None:
        """A whole number in 0..2^53, else None: servers differ about 5.0, "5" and true."""
        raw = self.values.get(name)
        if raw is None:
            return None
        text = bytes(memoryview(raw)[:17])
        if _INTEGER.fullmatch(text) is None:
            return None
        number = int(text)
        return number if number <= _INTEGER_MAX else None

    def is_null(self, name: str) -> bool:
        """Whether there is no such field, or nothing in it."""
        raw = self.values.get(name)
        return raw is None or bytes(memoryview(raw)[:5]) == b"null"

    def string(self, name: str) -> str | None:
        """A string; None for anything else."""
        raw = self.values.get(name)
        return None if raw is None else _string(raw)

    def texts(self, name: str) -> dict[str, str]:
        """The pairs of strings in an object; whatever else it is, it is no reason to refuse."""
        raw = self.values.get(name)
        if raw is None or memoryview(raw).nbytes > _TEXTS_BYTES_MAX:
            return {}
        try:
            pairs = _values_decoder.decode(raw)
        except JSON_ERRORS:
            return {}
        texts = {inner: _string(value) for inner, value in pairs.items()}
        return {inner: text for inner, text in texts.items() if text is not None}

    def once(self, name: str, guarded: str) -> Mapping[str, msgspec.Raw] | None:
        """The members of an object of which one is `guarded`, with the same proof one level down.

        None where it is no object. ProxyError 400 where readers would disagree.
        """
        raw = self.values.get(name)
        if raw is None:
            return None
        text = bytes(raw)
        try:
            members = _values_decoder.decode(text)
        except JSON_ERRORS:
            return None
        try:
            walk(text, members)
        except Ambiguous:
            raise self.ambiguous(name, "holds a name twice") from None
        plain = squeezed(guarded)
        if any(inner != guarded and squeezed(inner) == plain for inner in members):
            raise self.ambiguous(name, f"holds {guarded} in another case")
        return members


def said_in(model: str) -> tuple[str, ...]:
    """The steering fields that a model's name stands for."""
    return ("models",) * ("," in model) + ("preset",) * ("@preset/" in model.casefold())


def forbid_fields(steering: Collection[str], allow_fields: Collection[str]) -> None:
    """ProxyError 403 for a steering field that the upstream's `allow_fields` does not list."""
    for name in steering:
        if name not in allow_fields:
            allowed = (
                f"Allowed here: {', '.join(sorted(allow_fields))}."
                if allow_fields
                else "The operator can allow it in `allow_fields` of the upstream."
            )
            shown = name[:_NAME_SHOWN_CHARS] if name.isprintable() else "?"
            message = (
                f"The field {shown!r}{_SAID_IN_MODEL.get(name, '')} can choose another model,"
                " vendor, host or key than was checked here, and is not passed on. Remove it."
                f" {allowed}"
            )
            raise ProxyError(
                403, "invalid_request_error", "field_not_allowed", message, param=shown
            )


def check_query(target: str, allow_fields: Collection[str]) -> None:
    """ProxyError 403 for a parameter that could stand for a member of the body, or steer.

    The names that `allow_fields` lists pass here too.
    """
    for name in names_in(target):
        if steering_parameter(name) and name not in allow_fields:
            shown = name[:_NAME_SHOWN_CHARS] if name.isprintable() else "?"
            message = (
                f"The query parameter {shown!r} can say something else than the body that was"
                " checked, and is not passed on. Leave it out: what is asked for stands in the"
                " body."
            )
            raise ProxyError(
                403, "invalid_request_error", "field_not_allowed", message, param=shown
            )


def _decode(body: bytes) -> tuple[bytes, Values]:
    """The top-level fields, and the text they were read from.

    That is the body, or a copy of equal length with lone surrogates replaced. JavaScript sends a
    lone surrogate whenever it has cut a string inside an emoji, and most vendors take it.
    """
    try:
        _check_utf8(body)
        _check_names_bounded(body)
        return body, _values_decoder.decode(body)
    except JSON_ERRORS as error:
        first = error
    repaired = repair_surrogates(body)
    if repaired is not None:
        try:
            return repaired, _values_decoder.decode(repaired)
        except JSON_ERRORS as error:
            first = error
    raise invalid_request(_why_unreadable(first)) from None


def _check_utf8(body: bytes) -> None:
    """Raises UnicodeDecodeError for a body that is not UTF-8 throughout.

    Members that are not read here count too: readers repair them in different ways.
    """
    if body.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    for at in range(0, len(body), _UTF8_STEP_BYTES):
        decoder.decode(body[at : at + _UTF8_STEP_BYTES])
    decoder.decode(b"", final=True)


def _check_names_bounded(body: bytes) -> None:
    """Refuse a large body made of names before it is decoded: it would cost many times its size.

    Strings in the known large fields do not count.
    """
    if count(body, b'"') <= _QUOTES_MAX:
        return  # all that were, without a look for those that are escaped
    quotes = _quotes(body)
    bulk = _bulk_decoder.decode(body)
    for value in msgspec.structs.astuple(bulk):
        quotes -= _quotes(bytes(value))
    if quotes > _QUOTES_MAX:
        names = ", ".join(_Bulk.__struct_fields__)
        raise invalid_request(
            f"The request body holds more than {_QUOTES_MAX // 2} names and strings outside of"
            f" {names}. Send only fields that the API knows."
        )


def _quotes(text: bytes) -> int:
    """Quotes that begin or end a string: at least one for each name.

    A quote behind a backslash may end a name but never begins one.
    """
    return count(text, b'"') - count(text, b'\\"')


def _why_unreadable(error: Exception) -> str:
    """What to do about a body that is not a JSON object, without quoting from it."""
    if isinstance(error, RecursionError):
        return (
            "The request body is nested too deeply. Send a JSON object with less than a few hundred"
            " levels."
        )
    if isinstance(error, UnicodeDecodeError):
        return "The request body is not valid UTF-8. Send a JSON object encoded as UTF-8."
    if isinstance(error, msgspec.ValidationError):
        return "The request body is JSON but not an object. Send a JSON object with a `model`."
    at = re.search(r"byte \d+", str(error))
    where = f" (at {at[0]})" if at else ""
    return f"The request body is not valid JSON{where}. Send a JSON object with a `model`."


def _string(raw: msgspec.Raw | None) -> str | None:
    if raw is None:
        return None
    try:
        return _string_decoder.decode(raw)
    except JSON_ERRORS:
        return None
