"""Who calls, who pays, and whom a request is recorded for."""

from __future__ import annotations

from typing import Annotated, Literal

from proxy.config.fields import Block, EndUserSource, Glob, Label, LabelName, TagSource, about
from proxy.config.settings.limits import LimitSettings
from proxy.config.settings.notify import NotifySettings
from proxy.config.settings.prices import DatedShare


class TeamSettings(Block, frozen=True, kw_only=True):
    """A team: who pays."""

    labels: Annotated[
        dict[LabelName, Label], about("labels on each of its records, for finance")
    ] = {}
    markup: Annotated[
        str | tuple[DatedShare, ...],
        about(
            "share added to the cost: what the team is charged; a decimal in quotes, or a list of"
            " them with the day from which each holds",
            "decimal",
        ),
    ] = "0"
    models: Annotated[tuple[Glob, ...], about("models that its keys may call; by default all")] = ()
    limits: Annotated[
        tuple[LimitSettings, ...] | None, about("limits; by default `defaults.team.limits`")
    ] = None
    limits_add: Annotated[
        tuple[LimitSettings, ...], about("limits beside those of `defaults.team.limits`")
    ] = ()
    notify: Annotated[
        tuple[NotifySettings, ...],
        about("who is told of the team's limits and keys, besides those of the top `notify`"),
    ] = ()


class KeySettings(Block, frozen=True, kw_only=True):
    """An API key handed to a caller.

    Settings that were read hold digests only: `secret` is emptied into `secret_sha256`.
    """

    team: Annotated[str | None, about("a name in `teams`")] = None
    role: Annotated[
        Literal["member", "lead"],
        about("lead: it may read the use, limits, records and keys of its whole team"),
    ] = "member"
    secret: Annotated[str, about("the key itself; empty disables it", "secret")] = ""
    secret_sha256: Annotated[
        str, about("instead of `secret`: its SHA-256 in lower-case hex", "sha256")
    ] = ""
    models: Annotated[
        tuple[Glob, ...],
        about("models the key may call, of those of its team; by default all of them"),
    ] = ()
    expires: Annotated[
        str | None,
        about("day (midnight in `timezone`) or time from which it is refused", "instant"),
    ] = None
    labels: Annotated[
        dict[LabelName, Label], about("labels on each of its records, over the team's")
    ] = {}
    limits: Annotated[
        tuple[LimitSettings, ...] | None, about("limits; by default `defaults.key.limits`")
    ] = None
    limits_add: Annotated[
        tuple[LimitSettings, ...], about("limits beside those of `defaults.key.limits`")
    ] = ()


class TagSettings(Block, frozen=True, kw_only=True):
    """Tags that callers put on their requests."""

    from_: Annotated[
        tuple[TagSource, ...], about("where tags are read; the first that names a tag wins")
    ] = ("header:x-tollkeeper-tags", "body:metadata")
    keep: Annotated[tuple[str, ...], about("tags recorded; all others are ignored")] = (
        "feature",
        "env",
    )


class AttributionSettings(Block, frozen=True, kw_only=True):
    """Whom a request is recorded for, beyond its key."""

    end_user: Annotated[
        tuple[EndUserSource, ...], about("where the end user is read; the first usable one wins")
    ] = ("header:x-end-user", "body:safety_identifier", "body:user")
    tags: Annotated[TagSettings, about("free labels from the caller")] = TagSettings()


class PrivacySettings(Block, frozen=True, kw_only=True):
    """Personal data in the ledger."""

    end_user: Annotated[
        Literal["off", "hash", "plain"],
        about("how an end user is recorded: not at all, as an erasable hash, as it came"),
    ] = "hash"
