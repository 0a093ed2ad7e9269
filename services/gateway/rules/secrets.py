"""Secrets of API keys: `vafa_{key id}_{256 random bits}`.

The beginning is fixed so that scanners of code and logs know a secret when they see one.
"""

import base64
import hashlib
import hmac
import re

RANDOM_BYTES = 32
_SHAPE = re.compile(r"vafa_([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)_[A-Za-z0-9_-]{43}")
# What no secret has for its hash.
_NO_HASH = bytes(hashlib.sha256().digest_size)


def new_secret(key_id: str, random: bytes) -> str:
    """Return the secret of a key, of 32 random bytes."""
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"a secret is made of {RANDOM_BYTES} bytes, not {len(random)}")
    return f"vafa_{key_id}_{base64.urlsafe_b64encode(random).decode().rstrip('=')}"


def key_id_of(secret: str) -> str:
    """Return the id of the key that a secret says it is of; empty if it is no secret at all."""
    found = _SHAPE.fullmatch(secret)
    return found.group(1) if found else ""


def hash_of(secret: str) -> bytes:
    """Return what is kept of a secret. With that many random bits, one SHA-256 is enough."""
    return hashlib.sha256(secret.encode()).digest()


def is_secret_of(secret: str, secret_hash: bytes | None) -> bool:
    """Whether the hash is that of the secret, with the same work where there is no hash."""
    return hmac.compare_digest(hash_of(secret), secret_hash or _NO_HASH)
