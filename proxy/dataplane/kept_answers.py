"""Whose answers the vendors keep.

An id is all that a later request names, and every key of an operator's account could read, cancel,
delete or continue what another has asked. So a bounded number of ids is known here, learned as
the answers pass, and read from the ledger at the start. An unknown id, or one of another team, is
not found.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from proxy.core.dialects.contract import Call
from proxy.core.errors import ProxyError
from proxy.core.usage import UsageRecord
from proxy.dataplane.named_objects import Claimant
from proxy.ledger.reading import KeptAnswer
from proxy.tenants.ring import Tenant

KEPT_MAX: Final = 50_000  # ids: some 20 MB
ID_CHARS_MAX: Final = 256


class VendorsAnswer(msgspec.Struct):
    """One answer, or a conversation that `grows`.

    `owner`: its team, or its key where that has none. `tokens`: of its prompt and its text, which
    are billed again where it is continued. `waiting`: the record of a request whose use is not
    known yet.
    """

    owner: str
    upstream: str
    model: str
    tokens: int = 0
    waiting: UsageRecord | None = None
    grows: bool = False

    def grow(self, tokens: int) -> None:
        """So many tokens are in it now."""
        self.tokens = tokens

    def wait(self, record: UsageRecord | None) -> None:
        """The use of this record's request is not known yet; None: it is."""
        self.waiting = record


class KeptAnswers:
    """The answers that are known, the latest last."""

    def __init__(self) -> None:
        self._by_id: dict[str, VendorsAnswer] = {}

    def learn(self, record: UsageRecord, *, waits: bool) -> None:
        """An answer that was made for this record. The first who was given an id has it."""
        id = record.upstream_request_id
        if id is None or record.model_requested is None or len(id) > ID_CHARS_MAX:
            return
        self._add(
            id,
            VendorsAnswer(
                owner=_owner(record.team, record.key_id),
                upstream=record.upstream,
                model=record.model_requested,
                tokens=(record.input_tokens or 0) + (record.output_tokens or 0),
                waiting=record if waits else None,
            ),
        )

    def went_on(self, ids: Iterable[str], record: UsageRecord) -> None:
        """This record's request went on with what has these ids, which were its caller's. What is
        no answer is a conversation, which has the tokens of its latest request now."""
        for id in ids:
            known = self._by_id.get(id)
            if known is None and record.model_requested is not None:
                known = VendorsAnswer(
                    _owner(record.team, record.key_id),
                    record.upstream,
                    record.model_requested,
                    grows=True,
                )
                self._add(id, known)
            if known is not None and known.grows:
                known.grow((record.input_tokens or 0) + (record.output_tokens or 0))

    def restore(self, rows: Iterable[KeptAnswer]) -> None:
        """What the ledger has, the latest last."""
        for row in rows:
            self._add(
                row.id,
                VendorsAnswer(_owner(row.team, row.key_id), row.upstream, row.model, row.tokens),
            )

    def wait(self, records: Iterable[UsageRecord]) -> None:
        """Records whose use was not known when they were booked."""
        for record in records:
            kept = self._by_id.get(record.upstream_request_id or "")
            if kept is not None:
                kept.wait(record)

    def of(self, id: str, tenant: Tenant) -> VendorsAnswer:
        """The answer of this id. Raises ProxyError 404 where it is not the tenant's."""
        kept = self._by_id.get(id)
        if kept is None or kept.owner != _owner(tenant.team, tenant.key_id):
            raise not_found()
        return kept

    def known(self, id: str | None) -> VendorsAnswer | None:
        """The answer of this id, whichever key asks."""
        return None if id is None else self._by_id.get(id)

    def _add(self, id: str, kept: VendorsAnswer) -> None:
        if id in self._by_id:
            return
        if len(self._by_id) >= KEPT_MAX:
            del self._by_id[next(iter(self._by_id))]
        self._by_id[id] = kept


def check_items(call: Call, items: Claimant, *, shared: bool) -> None:
    """Raises ProxyError 404 where a call names single items that others have asked for.

    `shared`: the vendor's account serves several teams, so that a reference to what is not known
    here may be to theirs.
    """
    for id in call.items:
        if items.sees_anothers(id):
            raise _no_item(id)
    if shared:
        for id in call.references:
            if not items.owns(id):
                raise _no_item(id)


def _no_item(id: str) -> ProxyError:
    """404: unknown here, or somebody else's, which looks the same."""
    message = (
        f"The request names {id[:100]!r}, and no such item is known here for this key's team. The"
        " proxy knows those of the latest answers that passed since it was started. Send the items"
        " themselves rather than their ids (with `store: false`, reasoning as"
        " `reasoning.encrypted_content`), or begin anew."
    )
    return ProxyError(404, "invalid_request_error", "answer_not_found", message, param="input")


def not_found() -> ProxyError:
    """404: unknown here, or somebody else's, which looks the same."""
    message = (
        "No such answer is known here for this key's team. The proxy knows those that were made"
        " through it, the latest of them; another team's are not found either."
    )
    return ProxyError(404, "invalid_request_error", "answer_not_found", message)


def _owner(team: str | None, key_id: str) -> str:
    return f"key {key_id}" if team is None else f"team {team}"
