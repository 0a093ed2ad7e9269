"""Whose tokens the edge takes: those of the issuers that the services trust, by the same file."""

from dataclasses import dataclass
from pathlib import Path

from services.chassis import strict_json
from services.chassis.issuers import Issuer, IssuersFile
from services.chassis.signing import TOKEN_LIFETIME_SECONDS
from services.chassis.tokens import CLOCK_SKEW_SECONDS
from services.gateway.edge.envoy import Config, seconds
from services.gateway.edge.settings import EdgeSettings

# The cluster that gives the keys that are in files, each under the name of its issuer.
IN_FILES = "keys-in-files"
# Where the claims of a verified token are, for the rate and the log.
CLAIMS = "claims"
# A file that changed is looked at again as soon as this.
FILE_REFRESH_SECONDS = 1
FETCH_SECONDS = 5


@dataclass(frozen=True)
class Trusted:
    """An issuer, by a name of its own within the configuration; `folder` is where the paths of
    its files begin.
    """

    name: str
    issuer: Issuer
    folder: Path

    @property
    def asked(self) -> str:
        """The cluster that is asked for its keys."""
        if self.issuer.jwks_url is None:
            return IN_FILES
        return f"{self.name}-with-token" if self.bearer_token_file else self.name

    @property
    def jwks_file(self) -> Path | None:
        """The file with its keys, if they are in one."""
        return self.issuer.jwks_file and self.folder / self.issuer.jwks_file

    @property
    def ca_file(self) -> Path | None:
        """The certificates to trust for its keys."""
        return self.issuer.ca_file and self.folder / self.issuer.ca_file

    @property
    def bearer_token_file(self) -> Path | None:
        """The token to show for its keys."""
        return self.issuer.bearer_token_file and self.folder / self.issuer.bearer_token_file


def trusted_issuers(settings: EdgeSettings) -> tuple[Trusted, ...]:
    """Return the suite's own issuer, unless its name is empty, and those of the file.

    Raises OSError or ValueError for a file that cannot be read, and ValueError if there is no
    issuer at all.
    """
    own, file = _own(settings), settings.issuers_file
    stated = [] if file is None else strict_json.read_as(IssuersFile, file.read_bytes()).issuers
    folder = Path() if file is None else file.parent
    found = (*own, *(Trusted(f"issuer-{n}", one, folder) for n, one in enumerate(stated, 1)))
    if not found:
        raise ValueError("no issuer is trusted")
    return found


def _own(settings: EdgeSettings) -> tuple[Trusted, ...]:
    if not settings.token_issuer:
        return ()
    issuer = Issuer(
        issuer=settings.token_issuer,
        audiences=[settings.token_audience],
        algorithms=["EdDSA"],
        jwks_file=settings.jwks_file,
        max_lifetime_seconds=TOKEN_LIFETIME_SECONDS,
    )
    return (Trusted("own", issuer, Path()),)


def provider(trusted: Trusted) -> Config:
    """Return how Envoy checks the tokens of an issuer."""
    issuer = trusted.issuer
    in_file = issuer.jwks_url is None
    keys: Config = {
        "http_uri": {
            "uri": issuer.jwks_url or f"http://{IN_FILES}/{trusted.name}",
            "cluster": trusted.asked,
            "timeout": seconds(FETCH_SECONDS),
        },
        "cache_duration": seconds(FILE_REFRESH_SECONDS if in_file else issuer.refresh_seconds),
    }
    if not in_file:
        # No call waits for them, and the last good ones stay if the next are not to be had.
        keys["async_fetch"] = {"fast_listener": False}
    return {
        "issuer": issuer.issuer,
        "audiences": issuer.audiences,
        "remote_jwks": keys,
        "require_expiration": True,
        # Envoy measures what is left of its life.
        "max_lifetime": seconds(issuer.max_lifetime_seconds + CLOCK_SKEW_SECONDS),
        "clock_skew_seconds": CLOCK_SKEW_SECONDS,
        # The service checks it again.
        "forward": True,
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "payload_in_metadata": CLAIMS,
    }
