"""All that the data path knows of an API.

It knows how a request is read, how its answer is metered, and what errors and limits look like
there.

An API is one package beside this file with a `Dialect` of its own, and one line in `registry.py`.
`tests/core/dialects/test_contract.py` runs over every dialect that stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from proxy.core.dialects.batch import VendorsBatch
from proxy.core.dialects.run import Run
from proxy.core.dialects.texts import Texts
from proxy.core.dialects.whole_answer import ReadWhole
from proxy.core.errors import ProxyError
from proxy.core.http.headers import RawHeaders
from proxy.core.limits.state import LimitState
from proxy.core.tokens.images import ImageRule, Picture
from proxy.core.tokens.prompts import Prompt
from proxy.core.tokens.text import Count
from proxy.core.usage import Usage

# output tokens per byte of delivered text, while nothing has been learned of the model
MEASURE_UNCALIBRATED = (1, 4)
EVENT_BYTES_MAX = 1024 * 1024  # of one event that is read, where nothing else is configured
ANSWER_BYTES_MAX = 4 * 1024 * 1024  # of a JSON answer, likewise


class Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a request asks for. None is "not named"; a value of an unexpected type counts as not
    named.

    endpoint · the path, as `Dialect.endpoints` has it
    n · how many answers it names; `answers` · how many it may get at most, None where that cannot
    be told
    max_tokens · the largest cap that it names on the tokens of one answer
    include_usage · whether its stream is asked to state its usage; True also where the API states
    it unasked
    user, safety_identifier, metadata · what it says about its end user
    steering · names in its body that can choose another model, vendor, host or key (core/steering)
    prompt_bytes · of the body, without what is proved to be a picture or a sound (base64 says
    nothing about tokens), which are `pictures` and `sound_bytes`, at the places `inlined`
    media · it holds or fetches more than its own text (images, files, searches, what the vendor
    keeps), whose tokens nothing in it tells; a strict limit refuses it
    echo · the answer is asked to begin with what was sent
    writes_text · False: its answer is no text at all (embeddings)
    free · nothing is generated, and the vendor bills nothing: it is a request without tokens
    background · its vendor works on it behind the answer, whether or not the client leaves
    continues · ids of answers or conversations that the vendor keeps, which it goes on with
    items · ids of single items of such answers that it names; `references`, those among them whose
    content the vendor puts in     store · the vendor may keep the answer
    spans · [start, end) in the body of values that may be replaced: that of `model` where a body
    names it, for an alias, and those that `ask_for_usage` needs; `object_start` the offset behind
    its `{`
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
    writes_text: bool = True
    free: bool = False
    background: bool = False
    continues: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    store: bool = True
    spans: dict[str, tuple[int, int]] = {}
    object_start: int = 0

    @property
    def cap(self) -> int | None:
        """The most tokens that each answer may have, as far as the request says.

        Servers in Go read 0 as if none were named.
        """
        return self.max_tokens if self.max_tokens != 0 else None


class Meter(Protocol):
    """Reads a copy of one answer as it flows by.

    It never raises, whatever comes, and decides nothing about money: `core/records/settlement.py`
    does, from what stands here.

    Feed it every chunk of the body as it came, then call `end`, however the answer ended.
    """

    def feed(self, chunk: bytes) -> None:
        """One chunk as it came from the upstream, content coding included."""

    @property
    def run(self) -> Run | None:
        """What takes the next chunk if it is like the last, instead of `feed`; None: `feed` it."""

    def take_over(self) -> None:
        """Counts what the run has taken: until then, it stands in no figure here."""

    def room_bytes(self, output_tokens: int) -> int:
        """How much more text may come until `output_measure` exceeds so many tokens."""

    def end(self) -> None:
        """The answer is over: read what has waited for its end. Called again, it does nothing."""

    def whole_events(self, chunk: bytes) -> bytes:
        """The part of the chunk fed last that ends with a whole event; empty if none ends in it."""

    @property
    def usage(self) -> Usage | None:
        """All that was stated, as one Usage."""

    @property
    def usage_current(self) -> bool:
        """Whether no text came behind the output that was stated."""

    @property
    def usage_final(self) -> bool:
        """Whether what was stated is the whole answer's, not a running total."""

    @property
    def done(self) -> bool:
        """Whether the mark came that ends a stream of this API."""

    @property
    def complete(self) -> bool:
        """Whether all of the stream has come, however its connection ends."""

    @property
    def shows_its_end(self) -> bool:
        """Whether the answer itself says that it is whole. Known after `end`."""

    @property
    def between_events(self) -> bool:
        """Whether all events that came are whole, so that another may be put behind them."""

    @property
    def error(self) -> bool:
        """Whether an error came, as an event or as the answer."""

    @property
    def answered(self) -> bool | None:
        """Whether it holds an answer. False: what came is none; None: nothing came that tells."""

    @property
    def finish_reason(self) -> str | None:
        """Why it is finished, in the API's word."""

    @property
    def model_served(self) -> str | None:
        """The model that answers, as the upstream says."""

    @property
    def response_id(self) -> str | None:
        """The answer's id in its body."""

    @property
    def batch(self) -> VendorsBatch | None:
        """The batch that it tells of, if it is about one."""

    @property
    def item_ids(self) -> Collection[str]:
        """Ids of what is in the answer, by which later requests can name it."""

    @property
    def service_tier(self) -> str | None:
        """The tier that was used, as the upstream says."""

    @property
    def output_measure(self) -> int:
        """Output tokens by the bytes that were delivered so far: what is not read counts whole."""

    @property
    def output_so_far(self) -> int:
        """Output tokens that a client can have read, by the best that is known."""

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of the text that a client has assembled."""

    @property
    def text_known(self) -> bool:
        """Whether all text that was delivered has been read."""

    @property
    def texts(self) -> Texts | None:
        """The delivered text, to be counted, as far as `text_bytes_max` goes."""

    @property
    def doubtful(self) -> bool:
        """Whether some of it came twice, and may have been written twice."""

    @property
    def unreadable(self) -> bool:
        """Whether something could not be read, so that counts may be missing."""

    @property
    def oversized(self) -> bool:
        """Whether an event or the answer was larger than the bounds."""

    @property
    def goes_on(self) -> bool:
        """Whether the vendor goes on behind the answer, so that its use is known later."""

    @property
    def next_number(self) -> int:
        """The number that the next event would have, where the API numbers them."""


class OpenMeter(Protocol):
    """Makes the meter of one answer, once its head is here. The class of a meter is one.

    stream · as the call says     measure · output tokens per byte of text, as (tokens, bytes)
    cached_inside_input · whether this vendor's count of the prompt holds its cached tokens
    text_bytes_max · so much of the text is kept to be counted; 0: none, None: all of it
    """

    def __call__(
        self,
        *,
        stream: bool,
        status: int = 200,
        content_type: str | None = None,
        content_encoding: str | None = None,
        event_bytes_max: int = EVENT_BYTES_MAX,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        cached_inside_input: bool = True,
        measure: tuple[int, int] = MEASURE_UNCALIBRATED,
        text_bytes_max: int | None = 0,
    ) -> Meter: ...


class UsageFilter(Protocol):
    """Passes a stream on without the event that its client did not ask for, byte for byte else."""

    @property
    def idle(self) -> bool:
        """Whether nothing is held back, so that an event which is none of usage may pass it by."""

    def feed(self, chunk: bytes) -> bytes:
        """The part of the stream so far that may go to the client."""

    def end(self) -> bytes:
        """The unfinished event at the end of the stream."""


# of a request's call and its readable body, with the vocabulary's name, the rules of images and its
# counting; None: the body cannot be read as a whole
CountPrompt = Callable[[Call, bytes, str, Sequence[ImageRule], Count], Prompt | None]
Fields = tuple[tuple[str, str], ...]  # of a response's head
RemainingFields = tuple[tuple[bytes, str], ...]  # names in small letters, each with its unit


class KeptPath(msgspec.Struct, frozen=True, gc=False):
    """A path that names an answer which the vendor keeps.

    answer_id · which one     endpoint · the path with `{id}` in its place, as records have it
    methods · that are offered there
    """

    answer_id: str
    endpoint: str
    methods: tuple[str, ...]


class Dialect(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One API. All of it is pure and works on bytes.

    name · what records say
    endpoints · the paths that are metered, each with its `/v1`; the first is the one to try a
    vendor with
    read_call · of endpoint and readable body; ProxyError 400 where the body cannot be read, or is
    read differently by different parsers. Fields that steer are named, not refused
    read_whole · a usual JSON answer that came in one piece, in place of its meter; None for any
    other
    ask_for_usage · the body that also asks for its stream's usage, None if there is nothing to
    ask; `usage_filter` takes the event out again that this brings, given the most bytes of an
    event that is held back. Both None where the API has no such question
    count_images · in a body, for prices per image; None: it cannot be told
    error_body, error_event · an error of ours as an answer, and as the last event of the stream
    that this meter reads
    limit_fields · response fields for the limits of the caller's own that stand thus at this
    moment (Unix milliseconds)
    remaining_fields · where a vendor's answer says how much more it allows
    request_id_field · where the vendor's answer names the request, in small letters
    kept_path · which answer that the vendor keeps a path names; it is relayed to the upstream that
    has it, for those whose answer it is, and without tokens. None: this API keeps none
    cached_inside_input · whether its count of a prompt holds the cached tokens
    header · a request field that only clients of this API send, in small letters
    model_list · a list of models in its shape, of entries as vendors list them; None: OpenAI's
    list_models · the target and the request fields that a list needs; None: nothing but the path
    names_what_it_made · records name the objects in the answer (`Meter.response_id`) rather than
    the request: their owner may ask for them
    """

    name: str
    endpoints: tuple[str, ...]
    read_call: Callable[[str, bytes], Call]
    open_meter: OpenMeter
    read_whole: ReadWhole | None = None
    ask_for_usage: Callable[[bytes, Call], bytes | None] | None = None
    usage_filter: Callable[[int], UsageFilter] | None = None
    count_prompt: CountPrompt
    count_images: Callable[[bytes], int | None]
    error_body: Callable[[ProxyError], bytes]
    error_event: Callable[[ProxyError, Meter], bytes]
    limit_fields: Callable[[Sequence[LimitState], int], Fields]
    remaining_fields: RemainingFields = ()
    request_id_field: bytes = b"x-request-id"
    kept_path: Callable[[str], KeptPath | None] | None = None
    cached_inside_input: bool = True
    header: bytes | None = None
    model_list: Callable[[Sequence[Mapping[str, object]]], dict[str, object]] | None = None
    list_models: tuple[str, RawHeaders] | None = None
    names_what_it_made: bool = False

    @property
    def names_its_answers(self) -> bool:
        """Whether a later request can name what is in an answer, so that the record has its id."""
        return self.kept_path is not None or self.names_what_it_made
