"""One attempt to hand one mail to the operator's server.

aiosmtplib, because a wait in it can be ended: a thread that waits for a mail server would hold up
the stop of the process. TLS is verified by the system's authorities, and STARTTLS is demanded where
it is configured: a server that does not offer it gets neither password nor mail.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from email.message import EmailMessage

import aiosmtplib

from proxy.config.settings import SmtpSettings
from proxy.notify.attempt import Attempt

PORTS = {"starttls": 587, "implicit": 465, "none": 25}
TIMEOUT_S = 30.0  # of the whole: greylisting servers answer slowly
QUIT_S = 2.0  # for the good-bye: the mail is taken by then
_SHOWN_CHARS = 200


async def mail(smtp: SmtpSettings, message: EmailMessage, timeout_s: float = TIMEOUT_S) -> Attempt:
    """Whether the server took the mail for all its addresses. It never raises."""
    client = aiosmtplib.SMTP(
        hostname=smtp.host.strip("[]"),
        port=PORTS[smtp.tls] if smtp.port is None else smtp.port,
        use_tls=smtp.tls == "implicit",
        start_tls=smtp.tls == "starttls",
        tls_context=ssl.create_default_context(),
        username=smtp.user or None,
        password=smtp.password or None,
        # Else the name of this machine is looked up, and the event loop waits for that.
        local_hostname=smtp.from_.rpartition("@")[2],
        timeout=timeout_s,
    )
    try:
        async with asyncio.timeout(timeout_s):
            await client.connect()
            refused, said = await client.send_message(message)
        with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
            async with asyncio.timeout(QUIT_S):
                await client.quit()
    except aiosmtplib.SMTPRecipientsRefused as error:
        codes = {one.code for one in error.recipients}
        return _answered(min(codes, default=500), "no address was taken")
    except aiosmtplib.SMTPResponseException as error:
        return _answered(error.code, _shown(error.message))
    except TimeoutError:
        return Attempt("again", f"the mail server did not answer within {timeout_s:g} s")
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        # Only the kind: of TLS, some of these wrap another.
        if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
            return Attempt("again", "the mail server's certificate is not trusted")
        return Attempt("again", f"the mail server failed ({type(error).__name__})")
    finally:
        client.close()
    if refused:
        missed = ", ".join(sorted(refused))
        return Attempt("delivered", f"{_shown(said)}; not taken for {missed}", partly=True)
    return Attempt("delivered", _shown(said))


def _answered(code: int, said: str) -> Attempt:
    """4xx is a fault of this moment, 5xx one of the mail or the config."""
    return Attempt("again" if code < 500 else "refused", f"the mail server said {code}: {said}")


def _shown(text: str) -> str:
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(shown.split())[:_SHOWN_CHARS]
