"""Writes the admin API's OpenAPI document into the file that is named.

`make openapi` calls it for `docs/openapi.json`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import msgspec
import yaml

from proxy.admin.openapi import OPENAPI_PATH, Document
from proxy.cli import admin_client
from proxy.config.loader import load
from proxy.server.lifecycle import Server

CONFIG = {
    "listen": "127.0.0.1:0",
    "metrics": {"listen": "127.0.0.1:0"},
    "drain": {"delay": "0s"},
    "estimates": "bytes",
    "upstreams": {"none": {"base_url": "http://127.0.0.1:9/v1"}},
    "routes": [{"model": "*", "upstream": "none"}],
}


def text(document: Document) -> bytes:
    """The document as it stands in docs/."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


async def served(directory: Path) -> Document:
    """The document that a process serves."""
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    server = await Server.start(load(path, {}))
    try:
        process = admin_client.running(directory / "var", {})
        assert process is not None, "it has just started"
        return await asyncio.to_thread(
            admin_client.ask, process, "GET", OPENAPI_PATH, type=Document
        )
    finally:
        await server.aclose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        Path(sys.argv[1]).write_bytes(text(asyncio.run(served(Path(directory)))))
