"""Where the keys of an issuer come from: a file, or an address."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog

from services.chassis.download import DOWNLOAD_FAILURES, download
from services.chassis.keys import JWKS_BYTES_LIMIT, Key, keys_of
from services.chassis.watched_file import UNREADABLE, WatchedFile

# How soon a failed download is tried again, and how often an unknown kid may cause one.
RETRY_SECONDS = 30.0
# How long a call waits for the download that its unknown kid has caused.
WAIT_SECONDS = 1.0
log = structlog.get_logger()


class KeySource(Protocol):
    """Gives the keys of one issuer as they are now."""

    def changed(self) -> bool:
        """Whether the keys are new since the last time this was asked."""

    async def find(self, kid: str) -> Key | None:
        """Return the key of this kid; None if the issuer has none."""

    async def renew(self) -> None:
        """Download the keys if it is time to."""


class KeysInFile:
    """Keys of a file, which is read again when it changes; raises one of UNREADABLE at first."""

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path, keys_of)

    def changed(self) -> bool:
        """See KeySource."""
        return self._file.changed()

    async def find(self, kid: str) -> Key | None:
        """See KeySource."""
        return self._file.value.get(kid)

    async def renew(self) -> None:
        """See KeySource; a file is read again when it is asked for a key."""


class KeysAtUrl:
    """Keys that are downloaded, and downloaded again after `refresh_seconds` or for the sake of
    an unknown kid. What is not to be had, or no key set, is passed over: the last good copy
    stays.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_file: Path | None,
        bearer_token_file: Path | None,
        refresh_seconds: float,
    ) -> None:
        self._url = url
        self._ca_file = ca_file
        self._bearer_token_file = bearer_token_file
        self._refresh_seconds = refresh_seconds
        self._retry_seconds = min(RETRY_SECONDS, refresh_seconds)
        self._began_at = float("-inf")
        self._fresh = False
        self._jwks = b""
        self._keys: Mapping[str, Key] = {}
        self._changed = False
        self._download: asyncio.Task[None] | None = None

    def changed(self) -> bool:
        """See KeySource."""
        changed, self._changed = self._changed, False
        return changed

    async def find(self, kid: str) -> Key | None:
        """See KeySource. An unknown kid waits for at most a second for a download."""
        if kid not in self._keys:
            download_ = self._under_way(self._retry_seconds)
            if download_ is not None:
                with suppress(TimeoutError):
                    # Shielded: others wait for it too.
                    await asyncio.wait_for(asyncio.shield(download_), WAIT_SECONDS)
        return self._keys.get(kid)

    async def renew(self) -> None:
        """See KeySource."""
        interval = self._refresh_seconds if self._fresh else self._retry_seconds
        download_ = self._under_way(interval)
        if download_ is not None:
            await download_

    def _under_way(self, interval_seconds: float) -> asyncio.Task[None] | None:
        """Return the download that runs, or one begun now if the last began so long ago."""
        if self._download is None:
            if time.monotonic() - self._began_at < interval_seconds:
                return None
            self._began_at = time.monotonic()
            self._download = asyncio.create_task(self._renew_now())
        return self._download

    async def _renew_now(self) -> None:
        try:
            jwks = await asyncio.to_thread(
                download,
                self._url,
                bytes_limit=JWKS_BYTES_LIMIT,
                ca_file=self._ca_file,
                bearer_token_file=self._bearer_token_file,
            )
            if jwks != self._jwks:
                self._keys = keys_of(jwks)
                self._jwks = jwks
                self._changed = True
                log.info("keys_downloaded", url=self._url, keys=len(self._keys))
            self._fresh = True
        except (*DOWNLOAD_FAILURES, *UNREADABLE) as error:
            self._fresh = False
            log.error("keys_not_downloaded", url=self._url, problem=str(error))
        finally:
            self._download = None
