"""TLS on loopback: a certificate of our own for `localhost`, and a server's context with it."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def certificate(directory: Path) -> tuple[Path, Path]:
    """Key and certificate, as files. An elliptic curve, because it takes no time to make."""
    key, cert = directory / "key.pem", directory / "cert.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(cert)]
    command = ["openssl", "req", "-x509", *curve, "-nodes", *files, "-days", "2", *subject]
    subprocess.run(command, check=True, capture_output=True)
    return key, cert


def server_context(key: Path, cert: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return context
