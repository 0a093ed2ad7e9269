"""Issuers of tokens beside the suite's own, and the addresses at which their keys lie."""

import datetime
import ipaddress
import json
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

LOOPBACK = "127.0.0.1"
CURVES: dict[str, type[ec.EllipticCurve]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_key(algorithm: str) -> PrivateKey:
    """Return a new private key for an algorithm."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm]())
    return rsa.generate_private_key(65537, 2048)


def to_jwk(key: PrivateKey, **members: str) -> dict[str, Any]:
    """Return the public key as an entry of a JWKS with further members, such as `kid`."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        public = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        # As most issuers publish it, without the operations.
        public.pop("key_ops", None)
    return {**public, **members}


class ForeignIssuer:
    """Somebody else who issues tokens, with one key at a time."""

    def __init__(self, name: str, algorithm: str = "RS256", audience: str = "vafa") -> None:
        self.name = name
        self.algorithm = algorithm
        self.audience = audience
        self.rotate()

    def rotate(self) -> None:
        """Sign with a new key from now on, and publish that alone."""
        self.key = new_key(self.algorithm)
        self.kid = str(uuid.uuid4())

    def jwks(self) -> str:
        """Return the key set that it publishes."""
        entry = to_jwk(self.key, kid=self.kid, alg=self.algorithm, use="sig")
        return json.dumps({"keys": [entry]})

    def token(self, *, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """Return a token that is accepted but for what is given; a claim of None is left out."""
        now = int(time.time())
        good = {
            "iss": self.name,
            "aud": [self.audience],
            "sub": "ada",
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
        }
        wanted = {k: v for k, v in {**good, **claims}.items() if v is not None}
        headers = {"kid": self.kid, **(header or {})}
        return jwt.encode(wanted, self.key, self.algorithm, headers)


class KeyServer:
    """An address that answers GET as the test says: by TLS if `tls`, with a certificate of its
    own, which is in `ca_file`. Use it as a context.
    """

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        self.ca_file = folder / "ca.pem"
        self.body = b""
        self.status = 200
        self.headers: dict[str, str] = {}
        # The headers of each request that came.
        self.requests: list[dict[str, str]] = []
        # What a handler does before it answers.
        self.before: Callable[[], object] = lambda: None
        self._context: ssl.SSLContext | None = None
        self._port = 0
        if tls:
            write_certificate(self.ca_file, folder / "key.pem")
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(self.ca_file, folder / "key.pem")
        self.start()

    @property
    def url(self) -> str:
        """Where it answers."""
        scheme = "http" if self._context is None else "https"
        return f"{scheme}://{LOOPBACK}:{self._port}/jwks"

    def start(self) -> None:
        """Answer from now on, after an outage at the same address."""
        self._server = ThreadingHTTPServer((LOOPBACK, self._port), self._handler())
        self._port = self._server.server_port
        if self._context is not None:
            self._server.socket = self._context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = Thread(target=self._server.serve_forever, args=[0.02])
        self._thread.start()
        self._is_running = True

    def stop(self) -> None:
        """Answer nobody from now on, if it still did."""
        if self._is_running:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._is_running = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append({k.lower(): v for k, v in self.headers.items()})
                server.before()
                self.send_response(server.status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                if "content-length" not in server.headers:
                    self.send_header("content-length", str(len(server.body)))
                self.end_headers()
                self.wfile.write(server.body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


def write_certificate(certificate_file: Path, key_file: Path) -> None:
    """Make a certificate of loopback that is its own authority, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer of a test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address(LOOPBACK))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def replace_file(path: Path, content: str) -> Path:
    """Replace a file in one step, as whoever rotates keys does."""
    fresh = path.with_suffix(".new")
    fresh.write_text(content)
    fresh.replace(path)
    return path
