"""Mistakes in `notify` and `smtp`, and what is hardly ever meant there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from proxy.config.settings import NotifySettings, Settings
from proxy.core.notices.notice import TEAM_EVENTS
from proxy.core.notices.signature import signing_key

# The ends of host names by which a webhook is known, and the format that it takes.
_KNOWN = {
    "hooks.slack.com": "slack",
    "hooks.slack-gov.com": "slack",
    ".logic.azure.com": "teams",
    ".powerplatform.com": "teams",
    ".powerautomate.com": "teams",
}
_ENDED = ".webhook.office.com"  # Teams' connectors, which Microsoft has switched off


def receivers(settings: Settings) -> Iterator[tuple[str, str | None, NotifySettings]]:
    """Where each receiver stands in the config, its team (None: the operator's own), and itself."""
    for index, one in enumerate(settings.notify):
        yield f"notify[{index}]", None, one
    for team, said in settings.teams.items():
        for index, one in enumerate(said.notify):
            yield f"teams.{team}.notify[{index}]", team, one


def check(
    settings: Settings, where: Mapping[str, str], problem: Callable[[str, str], None]
) -> None:
    """Tells of each receiver that nothing could be sent to, or not as it is meant.

    `where` has the paths that the file names.
    """
    named: dict[str, str] = {}
    for path, team, one in receivers(settings):
        tried = any(f"{path}.{field}" in where for field in ("url", "url_file", "mail"))
        if (one.url and one.mail) or not (one.url or one.mail or tried):
            problem(path, "say either url, for a webhook, or mail, for addresses")
        if one.events == ():
            problem(f"{path}.events", "an empty list tells nothing: name events, or leave it out")
        for index, event in enumerate(one.events or ()):
            if team is not None and event not in TEAM_EVENTS:
                known = ", ".join(TEAM_EVENTS)
                problem(
                    f"{path}.events[{index}]",
                    f"{event} concerns no single team: say it in the top `notify` (here: {known})",
                )
        if one.secret and (one.format != "generic" or one.mail):
            problem(f"{path}.secret", "signs generic messages alone; remove it")
        elif one.secret:
            try:
                signing_key(one.secret)
            except ValueError as error:
                problem(f"{path}.secret", str(error))
        if one.proxy and one.mail:
            problem(f"{path}.proxy", "is for webhooks alone; remove it")
        if one.name and one.name in named:
            problem(f"{path}.name", f"is also the name of {named[one.name]}; choose another")
        named.setdefault(one.name, path)
        if one.mail:
            _check_mail(settings, path, problem)
    smtp = settings.smtp
    if smtp.password and not smtp.user:
        problem("smtp.user", "missing beside the password; add the account")
    if smtp.password and smtp.tls == "none" and not _is_here(smtp.host):
        problem("smtp.tls", "none would send the password in clear: write starttls or implicit")


def _check_mail(settings: Settings, path: str, problem: Callable[[str, str], None]) -> None:
    for field, value in (("host", settings.smtp.host), ("from", settings.smtp.from_)):
        if not value:
            problem(
                f"{path}.mail",
                f"needs a mail server: add smtp.{field}, as in"
                " smtp: {host: mail.example.com, from: tollkeeper@example.com}",
            )


def warnings(settings: Settings) -> list[str]:
    """Tells of what will be sent and not understood."""
    found = []
    for path, _, one in receivers(settings):
        host = urlsplit(one.url).hostname or ""
        takes = next((form for end, form in _KNOWN.items() if host.endswith(end)), one.format)
        if takes != one.format:
            found.append(f"{path} goes to {host}, which takes format: {takes}")
        if host.endswith(_ENDED):
            found.append(
                f"{path} is a connector of Teams, which Microsoft has ended: make a webhook with"
                " the Workflows app"
            )
        if "limit_near" in (one.events or ()) and not _warned_of(settings):
            found.append(
                f"{path}.events: limit_near is told at the shares of warn_at, and no limit has"
                ' any: write {limit: "500 USD/month", warn_at: [80%]}'
            )
        if not (one.url or one.mail):
            found.append(f"{path}.url is empty: nobody is told by it")
        if one.url and one.format == "generic" and not one.secret:
            found.append(
                f"{path} has no secret: its receiver cannot tell that a message is from here"
            )
    return found


def _warned_of(settings: Settings) -> bool:
    """Whether a limit of this config has a share at which to warn."""
    limits = [*settings.limits, *settings.defaults.team.limits, *settings.defaults.key.limits]
    for upstream in settings.upstreams.values():
        limits += upstream.limits
    for team in settings.teams.values():
        limits += (*(team.limits or ()), *team.limits_add)
    for key in settings.keys.values():
        limits += (*(key.limits or ()), *key.limits_add)
    return any(limit.warn_at for limit in limits)


def _is_here(host: str) -> bool:
    return host in ("localhost", "127.0.0.1", "::1", "[::1]")
