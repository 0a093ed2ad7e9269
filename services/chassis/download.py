"""A small document from an address that the deployment trusts."""

import ipaddress
import socket
import ssl
import threading
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

# For the connection, and then for the whole answer.
DOWNLOAD_SECONDS = 5.0
# What a download may fail with.
DOWNLOAD_FAILURES = (OSError, HTTPException, ValueError)


def check_url(url: str) -> str:
    """Return the URL; raises ValueError unless it is https, or http on loopback."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host or parts.username is not None or parts.fragment or parts.port == 0:
        raise ValueError(f"{url} is no address to download from")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ValueError(f"{url} is neither https nor on loopback")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def download(
    url: str, *, bytes_limit: int, ca_file: Path | None, bearer_token_file: Path | None
) -> bytes:
    """Return what lies at a URL that check_url accepts; blocks for at most twice
    DOWNLOAD_SECONDS and the time that the name takes to resolve.

    A redirect is not followed, and no proxy is asked. Trusts the certificates of `ca_file`
    alone, if it is given, and else those of the system. Raises one of DOWNLOAD_FAILURES.
    """
    parts = urlsplit(url)
    headers = {"accept": "application/json"}
    if bearer_token_file is not None:
        headers["authorization"] = f"Bearer {bearer_token_file.read_text().strip()}"
    connection = _connection(parts.scheme, parts.hostname or "", parts.port, ca_file)
    try:
        connection.connect()
        # A timeout bounds each read, and not their sum.
        watchdog = threading.Timer(DOWNLOAD_SECONDS, _cut, [connection.sock])
        watchdog.daemon = True
        watchdog.start()
        try:
            target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
            connection.request("GET", target, headers=headers)
            return _body(connection, bytes_limit)
        finally:
            watchdog.cancel()
    finally:
        connection.close()


def _connection(scheme: str, host: str, port: int | None, ca_file: Path | None) -> HTTPConnection:
    if scheme == "http":
        return HTTPConnection(host, port, timeout=DOWNLOAD_SECONDS)
    context = ssl.create_default_context(cafile=ca_file)
    return HTTPSConnection(host, port, timeout=DOWNLOAD_SECONDS, context=context)


def _body(connection: HTTPConnection, bytes_limit: int) -> bytes:
    with connection.getresponse() as response:
        if response.status != 200:
            raise HTTPException(f"the answer was {response.status}")
        body = response.read(bytes_limit + 1)
        if len(body) > bytes_limit:
            raise HTTPException(f"larger than {bytes_limit} bytes")
        # Cut off by the watchdog or by the server, the answer looks as if it had ended.
        if response.length:
            raise HTTPException("the answer was cut off")
    return body


def _cut(open_socket: socket.socket) -> None:
    with suppress(OSError):
        open_socket.shutdown(socket.SHUT_RDWR)
