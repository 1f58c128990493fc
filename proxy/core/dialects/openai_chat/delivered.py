"""The text that was delivered so far: read, assembled as a client does, measured, handed on."""

from __future__ import annotations

from proxy.core.dialects.assembly import Assembly, Text
from proxy.core.dialects.json_text import JSON_ERRORS, plain
from proxy.core.dialects.lists import TooMuch
from proxy.core.dialects.openai_chat.shapes import Answer, read_answer
from proxy.core.dialects.openai_chat.text import Shape, strings_in
from proxy.core.dialects.openai_chat.written import (
    Choice,
    Key,
    choices_of,
    read_choices,
    texts_of,
)
from proxy.core.dialects.repair import REPAIRED_BYTES_MAX, repaired
from proxy.core.dialects.run import Run
from proxy.core.dialects.texts import Texts

# Shapes learnt without a single hit before giving up: such a stream has no two events alike.
_SHAPES_TRIED_MAX = 4
_SALVAGED_BYTES_MAX = 64 * 1024  # of a damaged event that is searched for texts
# The longest token of the large vocabularies, a run of blanks.
_TOKEN_BYTES_MAX = 128
Piece = tuple[Key, bytes]  # of which text, and what


class Delivered:
    """Takes one event after the other, or one whole answer. What takes text returns how many bytes
    of it are new.

    text_bytes · UTF-8 bytes of the text that a client has assembled
    unread_bytes · of events that could not be read: they count with all their bytes
    doubtful · some text came twice, and may have been written twice
    run · takes whole chunks that are one event like the last, as nearly every chunk is. What it has
    taken counts once `take_over` was called

    `frame_bytes_max`: longer chunks are not looked at as such; 0: none is, since chunks do not come
    as they are.
    """

    __slots__ = (
        "_assembly",
        "_echoes",
        "_frame_bytes_max",
        "_shape",
        "_shapes_left",
        "_text",
        "_texts",
        "run",
        "text_bytes",
        "unread_bytes",
    )

    def __init__(self, texts: Texts | None, *, frame_bytes_max: int = 0) -> None:
        self.text_bytes = 0
        self.unread_bytes = 0
        self._echoes = False  # a completion, which may begin with its prompt
        self._texts = texts
        self._assembly = Assembly(texts)
        self._frame_bytes_max = frame_bytes_max
        self._shape: Shape | None = None  # of the last event that was nothing but text
        self._text: Text | None = None  # which text it goes on with
        self.run: Run | None = None
        self._shapes_left = _SHAPES_TRIED_MAX

    @property
    def doubtful(self) -> bool:
        return self._assembly.doubtful

    @property
    def several_choices(self) -> bool:
        """Whether more than one choice has text."""
        return self._assembly.several_choices

    def take_over(self) -> None:
        """Counts what the run has taken, and tells it how long a piece may now be."""
        run, text = self.run, self._text
        if run is None or text is None:
            return
        pieces = run.take_over()
        if pieces:
            self.text_bytes += text.add_plain(pieces)
        run.allow(text.plain_bytes_max, self._frame_bytes_max)

    def take_alike(self, event: bytes) -> int | None:
        """An event that differs from the last in nothing but its text; None if it is not one."""
        if self._shape is None or self._text is None:
            return None
        inside = self._shape.text(event)
        if inside is None:
            return None
        self._shapes_left = _SHAPES_TRIED_MAX
        new = self._text.add(plain(inside))
        self.text_bytes += new
        return new

    def take_run(self, events: list[bytes], at: int) -> tuple[int, int]:
        """How many events from `at` on are alike and can only be increments, and their new bytes.

        Many come at once where a vendor is faster than its client, or buffers lie in between. They
        take a sixth of the time of `take_alike` for each.
        """
        if self._shape is None or self._text is None:
            return 0, 0
        pieces = self._shape.texts(events, at, self._text.plain_bytes_max)
        if not pieces:
            return 0, 0
        self._shapes_left = _SHAPES_TRIED_MAX
        new = self._text.add_plain(pieces)
        self.text_bytes += new
        return len(pieces), new

    def take(self, data: bytes, answer: Answer) -> tuple[list[Choice], int, Piece | None]:
        """Takes an event or an answer that was read as JSON.

        Returns its choices, the new bytes, and its only text.
        """
        try:
            return self._take(read_choices(answer.choices))
        except TooMuch:
            pass
        except JSON_ERRORS:
            # A string that is no UTF-8, in a part of a content: what is passed over does not tell.
            try:
                mended = read_answer(repaired(data)) if len(data) <= REPAIRED_BYTES_MAX else None
                return self._take(read_choices((mended or answer).choices))
            except (TooMuch, *JSON_ERRORS):
                pass
        self.unread_bytes += len(data)
        return choices_of(answer.choices), len(data), None

    def take_texts(self, texts: list[tuple[Key, int, bytes]]) -> tuple[int, Piece | None]:
        """Takes the texts of an event. Returns the new bytes, and its only text."""
        new = self._assemble(texts)
        if len(texts) != 1:
            return new, None
        ((key, rank, piece),) = texts
        # One that only repeats another member's text is nothing to know the next ones by.
        return new, (key, piece) if self._assembly.text(key).source == rank else None

    def learn(self, event: bytes, only: Piece | None) -> None:
        """This event held nothing but text. If it was one text, `only`, the next may be alike."""
        if only is not None and self._shapes_left:
            key, text = only
            self._shapes_left -= 1
            self._shape = Shape.of(event, text)
            self._text = self._assembly.text(key)
            self.run = None
            if self._shape is not None and self._frame_bytes_max:
                self.run = self._shape.run()

    def salvage(self, event: bytes) -> int:
        """An event that is damaged beyond repair: its strings with the names of texts."""
        if len(event) > _SALVAGED_BYTES_MAX:
            self.unread_bytes += len(event)
            return len(event)
        return self._assemble([(("damaged",), 0, plain(inside)) for inside in strings_in(event)])

    def beyond(self, output_tokens: int | None) -> bool:
        """Whether the output that was stated cannot have counted the text."""
        return not self._echoes and exceeds(self.text_bytes, output_tokens)

    def finish(self) -> None:
        """The answer is over."""
        self._assembly.finish()

    def _take(self, choices: list[Choice]) -> tuple[list[Choice], int, Piece | None]:
        self._echoes = self._echoes or any(memoryview(choice.text).nbytes for choice in choices)
        return choices, *self.take_texts(texts_of(choices))

    def _assemble(self, texts: list[tuple[Key, int, bytes]]) -> int:
        """Pieces of texts, each with the rank of the member of its choice that it comes from."""
        whole = 0
        for key, rank, piece in texts:
            text = self._assembly.text(key)
            if text.source is not None and rank > text.source:
                continue  # where a text comes from one member, another one only repeats it
            if text.source != rank:
                text.source = rank
                if text is self._text:  # what was learned of it comes from another member
                    self._shape = self._text = self.run = None
            if key[-1] == "name" and text.is_last(piece):
                continue  # servers that repeat the arguments of a call repeat its name as well
            whole += text.add(piece)
        self.text_bytes += whole
        return whole


def exceeds(text_bytes: int, output_tokens: int | None) -> bool:
    """Whether a text is longer than so many tokens can be. Then the output that was stated has not
    counted it: some servers always state 1."""
    return output_tokens is not None and text_bytes > _TOKEN_BYTES_MAX * (output_tokens + 1)
