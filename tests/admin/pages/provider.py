"""A small OpenID Connect provider, which also says what a bad one would say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

CLIENT, SECRET = "tollkeeper", "s3cr3t+9Qm2/ZtW8rLx2PbNc7HsD"
# As RFC 6749 writes both: in a form's way first.
BASIC = "Basic " + b64encode(b"tollkeeper:s3cr3t%2B9Qm2%2FZtW8rLx2PbNc7HsD").decode()


class SmallProvider:
    """Signs in `email` at once. Tests change what it says by the attributes."""

    def __init__(self) -> None:
        self.url = ""
        self.email = "ann@example.com"
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.published = self.key
        self.strange_keys: list[Any] = []
        self.claims: dict[str, Any] = {}  # instead of the good ones; None takes one out
        self.algorithm = "RS256"
        self.discovery: dict[str, Any] = {}
        self.token_status = 200
        self.now_s: int | None = None
        self.held: asyncio.Event | None = None  # discovery waits for it
        self.asked: list[dict[str, str]] = []
        self.codes: dict[str, dict[str, str]] = {}

    async def discover(self, _request: web.Request) -> web.Response:
        if self.held is not None:
            await self.held.wait()
        told = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
        }
        return web.json_response(told | self.discovery)

    async def jwks(self, _request: web.Request) -> web.Response:
        told = KeySet([self.published]).as_dict(private=False)
        return web.json_response({"keys": [*self.strange_keys, *told["keys"]]})

    async def authorize(self, request: web.Request) -> web.Response:
        asked = dict(request.query)
        self.asked.append(asked)
        code = f"code-{len(self.asked)}"
        self.codes[code] = asked
        answer = urlencode({"code": code, "state": asked["state"], "iss": self.url})
        raise web.HTTPFound(f"{asked['redirect_uri']}?{answer}")

    async def token(self, request: web.Request) -> web.Response:
        form = dict(await request.post())
        asked = self.codes.pop(str(form["code"]), None)
        challenge = urlsafe_b64encode(sha256(str(form["code_verifier"]).encode()).digest())
        if (
            asked is None
            or challenge.decode().rstrip("=") != asked["code_challenge"]
            or request.headers["Authorization"] != BASIC
            or form["redirect_uri"] != asked["redirect_uri"]
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time()) if self.now_s is None else self.now_s
        claims = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": "1",
            "exp": now + 300,
            "iat": now,
            "nonce": asked["nonce"],
            "email": self.email,
            "email_verified": True,
        } | self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.algorithm == "none":
            parts = ({"alg": "none"}, claims)
            bare = ".".join(urlsafe_b64encode(json.dumps(one).encode()).decode() for one in parts)
            return web.json_response({"id_token": bare.replace("=", "") + "."})
        key = OctKey.import_key(SECRET) if self.algorithm == "HS256" else self.key
        header = {"alg": self.algorithm, "kid": "one"}
        made = jwt.encode(header, claims, key, algorithms=[self.algorithm])
        return web.json_response({"id_token": made}, status=self.token_status)


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[SmallProvider]:
    one = SmallProvider()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", one.discover)
    app.router.add_get("/jwks", one.jwks)
    app.router.add_get("/authorize", one.authorize)
    app.router.add_post("/token", one.token)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [(host, port)] = [address[:2] for address in runner.addresses]
    one.url = f"http://{host}:{port}"
    try:
        yield one
    finally:
        await runner.cleanup()
