"""Paths that are passed through: files, batches, audio, images, rerank, as the config names them.

A request streams to its upstream without being held, under the same limits, journal and record as
any other. A JSON body is read first where objects have owners: it can name those of others.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from proxy.core.dialects.contract import Call, Dialect
from proxy.core.dialects.registry import passthrough
from proxy.core.entries import Opened
from proxy.core.errors import ProxyError, too_large
from proxy.core.http.headers import first, values
from proxy.core.http.media_type import check_json
from proxy.core.limits.rules import Rules
from proxy.core.tokens.peaks import Peaks
from proxy.core.usage import ChargeClass
from proxy.dataplane.admission import LARGE_BYTES, Admission, Admitted, Caller
from proxy.dataplane.connection import Request
from proxy.dataplane.counting.uncounted import Uncounted
from proxy.dataplane.hold import Hold
from proxy.dataplane.named_objects import Claimant, check_whole, no_object
from proxy.dataplane.passed import Found, PassedPath
from proxy.dataplane.request_body import BodyMemory, Payload, encoding_of
from proxy.dataplane.services import Services
from proxy.dataplane.upload import BodyCheck, Upload
from proxy.dataplane.uploaded import FormFields, NoJson
from proxy.tenants.ring import Tenant

# tokens by bytes of a JSON body, for the hold of a path that is metered by what its answer states
_BYTES_A_TOKEN = 4
_NOTHING = Peaks(0, 0, 0)
_FORM = b"multipart/"
_BINARY = (_FORM, b"audio/", b"image/", b"video/", b"application/octet-stream")


class PassedRequests:
    """Admits the requests. `rules`: the limits in effect, which a reload changes."""

    def __init__(
        self, services: Services, admission: Admission, rules: Callable[[], Rules]
    ) -> None:
        self._services = services
        self._admission = admission
        self._rules = rules

    async def admit(
        self, request: Request, caller: Caller, tenant: Tenant, memory: BodyMemory, found: Found
    ) -> Admitted:
        """Asks all that may refuse the request before anything is opened. Raises ProxyError."""
        passed = found.passed
        passed.check_allowed(tenant)
        caller.snapshot.check_usable(tenant, passed.upstream)
        self._check_owner(request, tenant, found)
        orders = found.orders_work(request.method)
        if orders:
            await self._check_order(caller, tenant, passed)
        length = request.content_length
        if length is not None and length > passed.entry.max_bytes:
            raise too_large(passed.entry.max_bytes)
        body = b""
        upload = None
        if length is not None or first(request.headers, b"transfer-encoding") is not None:
            if length != 0 and passed.entry.ids == "team" and not _is_binary(request):
                body = await self._read(request, caller, tenant, memory, passed)
                length = len(body)
            elif length != 0:
                upload = self._upload(request, caller, tenant, passed)
        head = passed.upstream.head(
            request.method,
            request.target,
            request.headers,
            length,
            via=self._services.via.line,
            chunked=upload is not None and upload.chunked,
        )
        dialect = passthrough(
            metered=passed.charge_class is ChargeClass.METERED,
            makes=passed.entry.ids == "team" and (found.tells_itself(request) or _makes(request)),
        )
        caller.asks(dialect, caller.endpoint)
        peaks = _NOTHING
        if passed.charge_class is ChargeClass.METERED:
            peaks = self._services.counter.calibration.peaks(passed.upstream.name, passed.name)
        body_bytes = 0 if length is None else length
        opened = self._opened(request, caller, tenant, passed, body_bytes, peaks)
        return Admitted(
            caller.snapshot,
            dialect,
            passed.upstream,
            request,
            _call(passed, orders=orders),
            opened,
            Uncounted(self._services.counter.calibration),
            self._hold(caller, dialect, opened, passed, peaks),
            Payload(head + body, None, memory),
            upload,
        )

    async def _check_order(self, caller: Caller, tenant: Tenant, passed: PassedPath) -> None:
        """What a batch will use counts against the limits once it is over, so that one that is used
        up lets no further batch begin."""
        rules = self._rules()
        limits = rules.limits_for(tenant.key_id, tenant.team, passed.upstream.name, passed.name)
        passed.check_unread(tenant, (*limits, *rules.of_tenant(tenant.key_id, tenant.team)))
        await self._admission.refuse_used_up(caller, tenant, ChargeClass.METERED)

    def _check_owner(self, request: Request, tenant: Tenant, found: Found) -> None:
        passed = found.passed
        if passed.entry.ids == "any":
            return
        claimant = self._claimant(tenant, passed)
        for id in found.named(request):
            if claimant.sees_anothers(id):
                raise no_object(id)
        if found.object is not None:
            if not claimant.owns(found.object):
                raise no_object(found.object)
        elif not _makes(request):
            message = (
                f"{request.method[:20]} {passed.name} is about what all teams have made, and here"
                " each sees its own only. Ask for one by its id, or ask the operator for"
                " `ids: any`."
            )
            raise ProxyError(403, "invalid_request_error", "path_not_allowed", message)

    def _claimant(self, tenant: Tenant, passed: PassedPath) -> Claimant:
        return Claimant(self._services.owners, passed.upstream.name, tenant.team, tenant.key_id)

    async def _read(
        self,
        request: Request,
        caller: Caller,
        tenant: Tenant,
        memory: BodyMemory,
        passed: PassedPath,
    ) -> bytes:
        """The JSON body, whole. Raises 404 if it names what somebody else has made."""
        body, readable = await self._admission.readable(
            request, caller, tenant, memory, passed.charge_class
        )
        claimant = self._claimant(tenant, passed)
        if len(readable) <= LARGE_BYTES:
            check_whole(readable, claimant)
        else:
            await self._admission.aside(check_whole, readable, claimant)
        return body

    def _upload(
        self, request: Request, caller: Caller, tenant: Tenant, passed: PassedPath
    ) -> Upload:
        settings = caller.snapshot.settings
        check: BodyCheck | None = None
        if passed.entry.ids == "team":
            kind = (first(request.headers, b"content-type") or b"").strip()
            form = kind.lower().startswith(_FORM)
            check = FormFields(kind, self._claimant(tenant, passed)) if form else NoJson()
        return Upload(
            request,
            bytes_max=passed.entry.max_bytes,
            idle_s=settings.timeouts.body_idle_s,
            rate_min_bytes_s=settings.bodies.rate_min_bytes,
            check=check,
        )

    def _opened(
        self,
        request: Request,
        caller: Caller,
        tenant: Tenant,
        passed: PassedPath,
        body_bytes: int,
        peaks: Peaks,
    ) -> Opened:
        opened = self._admission.opened(
            request, caller, tenant, _call(passed), passed.upstream, body_bytes, 0, None
        )
        estimate = peaks.input_tokens
        if passed.charge_class is ChargeClass.METERED and _is_json(request):
            estimate = max(estimate, body_bytes // _BYTES_A_TOKEN)
        return msgspec.structs.replace(
            opened, charge_class=passed.charge_class, input_estimate=estimate
        )

    def _hold(
        self, caller: Caller, dialect: Dialect, opened: Opened, passed: PassedPath, peaks: Peaks
    ) -> Hold:
        return Hold(
            self._services,
            caller.snapshot,
            dialect,
            opened,
            _call(passed),
            peaks.output_tokens,
            self._rules,
            peaks.charge_nano,
        )


def _call(passed: PassedPath, *, orders: bool = False) -> Call:
    """The path stands where others name a model. What a metered one uses cannot be bounded: nobody
    knows how many answers there may be, nor how long."""
    metered = passed.charge_class is ChargeClass.METERED
    return Call(
        endpoint=passed.name,
        model=passed.name,
        answers=None if metered else 0,
        writes_text=False,
        media=metered,
        background=orders,
    )


def _makes(request: Request) -> bool:
    """Whether the answer may be about something new, which belongs to who asked."""
    return request.method in ("POST", "PUT")


def _is_binary(request: Request) -> bool:
    """Whether the body says to be a file or a form with files. Everything else is read as JSON,
    which servers take under any other name and under none. Raises 415 for what says to be neither,
    or says it twice, and for a file in a content coding, which may hide JSON."""
    kinds = values(request.headers, b"content-type")
    if len(kinds) == 1 and kinds[0].strip().lower().startswith(_BINARY):
        if encoding_of(request) not in (None, "identity"):
            message = "A file is taken as it is. Send it without a Content-Encoding."
            raise ProxyError(415, "invalid_request_error", "unsupported_encoding", message)
        return True
    check_json(request.headers)
    return False


def _is_json(request: Request) -> bool:
    kind = first(request.headers, b"content-type")
    return kind is not None and b"json" in kind.lower()
