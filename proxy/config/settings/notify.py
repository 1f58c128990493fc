"""Who is told of what happens, and the mail server for it."""

from __future__ import annotations

from typing import Annotated, Literal

from proxy.config.fields import Block, about
from proxy.core.notices.notice import Event


class NotifySettings(Block, frozen=True, kw_only=True):
    """A receiver of notices: a webhook (`url`), or addresses of mail (`mail`).

    What Slack, Teams and others give out as a webhook's URL is a secret, and is shown as one.
    """

    name: Annotated[
        str, about("what the log calls it; by default its place here, `notify[0]`", "name")
    ] = ""
    url: Annotated[
        str,
        about(
            "where to POST: https://…, or http:// to a private host; url_file names a file with it",
            "webhook_url",
        ),
    ] = ""
    format: Annotated[
        Literal["slack", "teams", "generic"],
        about("slack and teams as they take it; generic is JSON for programs (Standard Webhooks)"),
    ] = "generic"
    proxy: Annotated[
        str, about("HTTP proxy on the way to `url`, http://host:port", "proxy_url")
    ] = ""
    secret: Annotated[
        str, about("signs generic messages: whsec_ and the Base64 of a random key", "secret")
    ] = ""
    mail: Annotated[
        tuple[Annotated[str, about("an address such as ops@example.com", "mail_address")], ...],
        about("addresses to write to instead of `url`, by the server in `smtp`"),
    ] = ()
    events: Annotated[
        tuple[Event, ...] | None, about("what it is told of; by default all that concerns it")
    ] = None


class SmtpSettings(Block, frozen=True, kw_only=True):
    """The server that takes mail for `notify`."""

    host: Annotated[str, about("its name; empty: there is none", "host")] = ""
    port: Annotated[
        int | None,
        about(
            "by default 587 for starttls, 465 for implicit, 25 for none", at_least=1, at_most=65_535
        ),
    ] = None
    tls: Annotated[
        Literal["starttls", "implicit", "none"],
        about(
            "starttls is demanded, not tried; implicit is TLS from the first byte; none is for a"
            " server on this machine"
        ),
    ] = "starttls"
    user: Annotated[str, about("the account, if the server wants one")] = ""
    password: Annotated[str, about("its password", "secret")] = ""
    from_: Annotated[str, about("the sender's address", "mail_address")] = ""
