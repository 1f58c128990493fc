"""The meter of chats, completions and embeddings: the stated usage, and how much text came."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from proxy.core.dialects.answer_meter import AnswerMeter
from proxy.core.dialects.edges import edge_of
from proxy.core.dialects.openai_chat.delivered import Delivered, exceeds
from proxy.core.dialects.openai_chat.media import MediaTokens
from proxy.core.dialects.openai_chat.salvage import salvaged
from proxy.core.dialects.openai_chat.shapes import (
    Answer,
    has_choices,
    is_error,
    may_state_usage,
    read_answer,
    read_leniently,
    stated_in,
    text_of,
)
from proxy.core.dialects.openai_chat.substance import (
    FINISH_ERROR,
    begins_answer,
    has_data,
    holds_answer,
)
from proxy.core.dialects.openai_chat.usual import usual_answer
from proxy.core.dialects.openai_chat.usual_event import UsualEvent, usual_event
from proxy.core.dialects.openai_chat.written import Choice, choices_of, finish_of
from proxy.core.dialects.repair import objects_of
from proxy.core.dialects.run import Run
from proxy.core.dialects.stated import Stated
from proxy.core.dialects.texts import Texts
from proxy.core.dialects.whole_answer import WholeAnswer

_DONE = b"[DONE]"
_NO_CHOICES, _SOME_CHOICES = msgspec.Raw(b"[]"), msgspec.Raw(b"[{}]")
_HEADS_MAX = 4  # events read whole while looking for the model's name; Azure's first has none


class ChatMeter(AnswerMeter):
    """Reads a copy of one answer; all that it knows stands in what `Meter` (contract.py) names."""

    next_number: ClassVar[int] = 0  # its events have none
    goes_on: ClassVar[bool] = False

    __slots__ = ("_delivered", "_heads_left", "_media", "_running", "_stated")

    def _begin(self) -> None:
        self._delivered: Delivered = Delivered(
            self.texts, frame_bytes_max=self._parser.event_bytes_max if self._body.plain else 0
        )
        self._media = MediaTokens()
        self._stated: Stated | None = None
        self._running = True  # what is stated beside a choice may be a running total
        self._heads_left = _HEADS_MAX

    @property
    def run(self) -> Run | None:
        """What takes the next chunk if it is like the last.

        None while an event is not whole, or where text would take back what was stated.
        """
        return self._delivered.run if self._parser.between and not self.usage_current else None

    def take_over(self) -> None:
        """Counts what the run has taken."""
        self._delivered.take_over()

    def feed(self, chunk: bytes) -> None:
        """One chunk as it came from the upstream, content coding included."""
        delivered = self._delivered
        delivered.take_over()
        if delivered.run is not None and self._parser.between:
            new = delivered.run.take(chunk)
            if new is not None:
                delivered.take_over()
                self._note(new)
                return
        body = self._body
        for piece in body.pieces(chunk):
            self._take_events(body.events(piece))
        self.error |= self._parser.errors > 0
        self.unreadable |= body.blind

    def _finish(self) -> None:
        if self._body.prose and self._heads_left == _HEADS_MAX and not self.done:
            self.unreadable = True
        self._delivered.finish()

    # Events.

    def _take_events(self, events: list[bytes]) -> None:
        """Several that came at once: runs of those that are alike in one step."""
        at = 0
        while at < len(events):
            taken, new = self._delivered.take_run(events, at)
            if taken:
                self._note(new)
                at += taken
            else:
                self._take_event(events[at])
                at += 1

    def _take_event(self, event: bytes) -> None:
        new = self._delivered.take_alike(event)
        if new is not None:
            self._note(new)
            return
        if len(event) < 16 and event.strip() == _DONE:
            self.done = True
            # vLLM ends a failed stream with it too: then the last total is as final as it was
            if not self.error:
                self.usage_final = self.usage_current
            return
        usual = usual_event(event)
        if usual is not None:
            self._read_usual(event, usual)
            return
        answer = read_leniently(event)
        if answer is not None:
            self._read_event(event, answer)
            return
        parts = objects_of(event)
        for part in parts:
            self._take_event(part)
        if not parts:
            self._salvage_event(event)

    def _read_event(self, event: bytes, answer: Answer) -> None:
        choices, new, only = self._delivered.take(event, answer)
        self.unreadable |= self._delivered.unread_bytes > 0
        media = self._take_media(event, choices)
        self._note(new + media)
        if (
            self._take_finish(choices)
            or self._heads_left
            or not self._answered
            or event.find(b'"error"') >= 0
            or may_state_usage(event)
        ):
            self._answered = self._answered or holds_answer(answer) or None
            self._take_names(answer)
            # A total while a choice is still running is a running one; if text follows, it was one
            # all the same.
            self._take_usage(answer, final=self.done or self._finished or not has_choices(answer))
        elif not media:
            self._delivered.learn(event, only)

    def _read_usual(self, event: bytes, usual: UsualEvent) -> None:
        """The same of an event that holds nothing but what a usual one has."""
        texts = usual.texts()
        new, only = self._delivered.take_texts(texts)
        self._note(new)
        finish = usual.finish_reason
        if finish is not None:
            self.finish_reason = finish
            self._finished = True
        elif (
            not self._heads_left
            and self._answered
            and event.find(b'"error"') < 0
            and not may_state_usage(event)
        ):
            self._delivered.learn(event, only)
            return
        self._answered = self._answered or bool(texts or finish) or None
        self._name(usual.model or None, usual.id or None, usual.service_tier or None)
        if usual.states_usage:
            choices = _SOME_CHOICES if usual.choices else _NO_CHOICES
            final = self.done or self._finished or not usual.choices
            self._take_usage(Answer(usage=usual.usage, choices=choices), final=final)

    def _take_media(self, data: bytes, choices: list[Choice]) -> int:
        """The tokens of sounds and pictures in it, which are no text."""
        new = self._media.take(data, choices)
        self._media_tokens += new
        return new

    def _salvage_event(self, event: bytes) -> None:
        """An event that is damaged beyond repair: what is whole in it counts, above all its
        usage."""
        self.unreadable = True
        self._answered = self._answered or begins_answer(event) or None
        self._note(self._delivered.salvage(event))
        answer = Answer(**salvaged(event))
        self._take_finish(choices_of(answer.choices))
        self._take_names(answer)
        self._take_usage(answer, final=self.done or self._finished or not has_choices(answer))

    def _take_finish(self, choices: list[Choice]) -> bool:
        """Whether one of these choices says why it is finished."""
        finish = finish_of(choices)
        if finish is None:
            return False
        self.finish_reason = finish[:64]
        self._finished = True
        self.error = self.error or finish == FINISH_ERROR
        return True

    def _take_usage(self, answer: Answer, *, final: bool) -> None:
        """Merges what this answer or event states into what was stated before."""
        stated = stated_in(answer)
        if stated is None:
            return
        earlier = self._stated
        self._stated = stated if earlier is None else earlier.merged(stated)
        embeds = has_data(answer) and not has_choices(answer)
        self.usage = self._stated.usage(
            cached_inside_input=self._cached_inside_input, embeddings=embeds
        )
        self.service_tier = self.service_tier or stated.service_tier
        counts = stated.counts_output_of(self._stated) and self._counts_all(answer, earlier)
        if embeds or (counts and not self._delivered.beyond(self.usage.output_tokens)):
            self.usage_current = True
            self.usage_final = final

    def _counts_all(self, answer: Answer, earlier: Stated | None) -> bool:
        """Whether a stated output counts all that was delivered.

        One beside a choice does not if text came and it has not grown: it is the same figure in
        each event. If it fell, each is of its own event alone; if there are several choices, each
        is of its own choice, as vLLM states it. Then none beside a choice is a total.
        """
        assert self._stated is not None, "it was merged before"
        if self.usage_current or not has_choices(answer):
            return True
        growth = self._stated.growth(earlier)
        if growth > 0:
            return self._running
        if growth < 0 or (self._stated.output_tokens and self._delivered.several_choices):
            self._running = False
        return False

    def _take_names(self, answer: Answer) -> None:
        self._name(text_of(answer.model), text_of(answer.id), text_of(answer.service_tier))
        self.error = self.error or is_error(answer)

    def _name(self, model: str | None, id: str | None, tier: str | None) -> None:
        if self._heads_left:
            self._heads_left -= 1
        if self.model_served is None:
            self.model_served = model
            if model is not None:
                self._heads_left = 0
        self.response_id = self.response_id or id
        if tier is not None:
            self.service_tier = tier[:64]  # the last one is the tier that was used

    # JSON answers.

    def _take_answer(self, body: bytes) -> None:
        usual = usual_answer(body, self._cached_inside_input) if self.texts is None else None
        if usual is not None:
            self._take_usual(usual)
            return
        answer = read_leniently(body)
        if answer is None:
            self._read_broken_body(body)
            return
        self._take_usage(answer, final=True)
        output = None if self.usage is None else self.usage.output_tokens
        if self.texts is not None or not output or exceeds(len(body), output):
            self.texts = Texts(None)  # it is all here already
            self._delivered = Delivered(self.texts)
        choices, _, _ = self._delivered.take(body, answer)
        media = self._take_media(body, choices)
        self._delivered.finish()
        if self._delivered.beyond(output):
            self.usage_current = self.usage_final = False
        self._read = self._delivered.unread_bytes == 0
        self.unreadable = not self._read
        self._delivered.unread_bytes = 0  # they are those of the body
        self._answered = self.text_bytes > 0 or media > 0 or holds_answer(answer)
        self._take_names(answer)
        self._take_finish(choices)

    def _take_usual(self, answer: WholeAnswer) -> None:
        self.usage, self.usage_current, self.usage_final = answer.usage, True, True
        self._delivered.text_bytes = answer.text_bytes
        self._read = self._answered = self._finished = True
        self.model_served, self.response_id = answer.model_served, answer.response_id
        self.service_tier, self.finish_reason = answer.service_tier, answer.finish_reason

    def _read_broken_body(self, body: bytes) -> None:
        """Several objects in a row are events, in whatever framing. Of anything else that begins
        like JSON, what is whole counts."""
        parts = objects_of(body)
        if parts:
            self._read = True
            for part in parts:
                self._take_event(part)
            self._delivered.finish()
            return
        self.unreadable = True
        self._answered = begins_answer(body) or (None if body.startswith(b"{") else False)
        if body.startswith(b"{"):
            answer = Answer(**salvaged(body))
            self._take_names(answer)
            self._take_finish(choices_of(answer.choices))
            self._take_usage(answer, final=True)

    def _take_ends(self, head: bytes, tail: bytes) -> None:
        """Usage from an answer too large to read whole."""
        answer = edge_of(head, tail, read_answer, read_leniently)
        if answer is None:
            self.unreadable = True
            return
        self._take_names(answer)
        self._take_usage(answer, final=True)
