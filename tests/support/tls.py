"""TLS on loopback: a certificate of our own for `localhost`, a server's context with it, and a
server that ends as it is told."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
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


@contextlib.contextmanager
def tls_answers(context: ssl.SSLContext, answers: dict[bytes, tuple[bytes, bool]]) -> Iterator[str]:
    """A TLS server in a thread of its own: its base URL. Each request is answered with the bytes
    whose name is in it, then the connection is closed at once.

    The second member says whether TLS's own end, close_notify, comes before TCP's.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_serve, args=(listening, context, answers), daemon=True)
        thread.start()
        try:
            yield f"https://localhost:{listening.getsockname()[1]}/v1"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(
    listening: socket.socket, context: ssl.SSLContext, answers: dict[bytes, tuple[bytes, bool]]
) -> None:
    while True:
        try:
            accepted, _ = listening.accept()
        except OSError:
            return
        with context.wrap_socket(accepted, server_side=True) as peer, contextlib.suppress(OSError):
            request = b""
            while not (name := next((name for name in answers if b'"%b"' % name in request), None)):
                request += peer.recv(65536)
            answer, notify = answers[name]
            peer.sendall(answer)
            if notify:
                peer.unwrap()
