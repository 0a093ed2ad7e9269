"""Whose tokens are trusted: the suite's own issuer, and those that a file names."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Self

import structlog
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from services.chassis import strict_json
from services.chassis.download import check_url
from services.chassis.key_sources import KeysAtUrl, KeysInFile, KeySource
from services.chassis.keys import ALGORITHMS
from services.chassis.watched_file import WatchedFile

log = structlog.get_logger()


def _check_algorithm(name: str) -> str:
    if name not in ALGORITHMS:
        raise ValueError(f"{name} is none of {', '.join(sorted(ALGORITHMS))}")
    return name


Text = Annotated[str, Field(min_length=1)]
FilePath = Annotated[Path, Field(strict=False)]


class Issuer(BaseModel):
    """An issuer, and how far it is trusted. Paths that are not absolute are beside the file that
    names the issuer.

    - `audiences`: a token must be for one of them.
    - `algorithms`: those that it signs with; none of them works with a shared secret.
    - `jwks_file` or `jwks_url`: its keys. The URL is https, or http on loopback; `ca_file` holds
      the certificates to trust there, `bearer_token_file` a token to show, as the API of a
      cluster wants one. `refresh_seconds` is how long a key that was removed there may last.
    - `roles_claim`: the claim with the roles that its tokens may give; by default they give none.
    - `subject_prefix`: what the subjects of its tokens begin with here; `{issuer}#` by default.
    - `max_lifetime_seconds`: a token that lives longer than this in all is refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    issuer: Text
    audiences: Annotated[list[Text], Field(min_length=1)]
    algorithms: Annotated[
        list[Annotated[str, AfterValidator(_check_algorithm)]], Field(min_length=1)
    ]
    jwks_file: FilePath | None = None
    jwks_url: Annotated[str, AfterValidator(check_url)] | None = None
    ca_file: FilePath | None = None
    bearer_token_file: FilePath | None = None
    refresh_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    roles_claim: Text | None = None
    subject_prefix: str | None = None
    max_lifetime_seconds: Annotated[int, Field(ge=1, le=86_400)] = 3600

    @model_validator(mode="after")
    def _has_one_place_of_keys(self) -> Self:
        if (self.jwks_file is None) == (self.jwks_url is None):
            raise ValueError(f"{self.issuer} needs either jwks_file or jwks_url")
        if self.jwks_url is None and (self.ca_file or self.bearer_token_file):
            raise ValueError(f"{self.issuer} has nothing to download")
        return self

    @property
    def prefix(self) -> str:
        """What its subjects begin with; "" for the suite's own issuer alone."""
        return f"{self.issuer}#" if self.subject_prefix is None else self.subject_prefix


class IssuersFile(BaseModel):
    """What a file of issuers says. `version` is the deployment's own mark, told in the log."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Text
    issuers: list[Issuer]

    @model_validator(mode="after")
    def _prefixes_are_given(self) -> Self:
        for issuer in self.issuers:
            if not issuer.prefix:
                raise ValueError(f"{issuer.issuer} has no subject_prefix")
        return self


@dataclass(frozen=True)
class Trusted:
    """A trusted issuer with its keys."""

    issuer: Issuer
    keys: KeySource


class Issuers:
    """The trusted issuers as they are now: `own`, and those of a file, which is read again when
    it changes. Raises one of UNREADABLE for what is no such file or an unreadable file of keys.

    No two issuers have one name, and no subject of one can be a subject of another.
    """

    def __init__(self, own: Issuer | None, issuers_file: Path | None) -> None:
        self._own = [] if own is None else [Trusted(own, _keys_in_file(own, Path()))]
        self._downloads: dict[object, KeysAtUrl] = {}
        self._folder = Path() if issuers_file is None else issuers_file.parent
        self._file = None if issuers_file is None else WatchedFile(issuers_file, self._read)
        self._by_name = _by_name(self._own) if self._file is None else self._file.value
        if not self._by_name:
            raise ValueError("no issuer is trusted")

    def changed(self) -> bool:
        """Whether issuers or keys are new since the last time this was asked."""
        changed = False
        if self._file is not None and self._file.changed():
            self._by_name = self._file.value
            changed = True
        for trusted in self._by_name.values():
            changed = trusted.keys.changed() or changed
        return changed

    def get(self, name: str) -> Trusted | None:
        """Return the issuer of this name; None if it is not trusted."""
        return self._by_name.get(name)

    def subject(self, issuer: Issuer, name: str) -> str:
        """Return what a subject of an issuer is called here; raises ValueError for a name of the
        suite's own issuer that would be taken for a subject of another.
        """
        subject = issuer.prefix + name
        others = (t.issuer.prefix for t in self._by_name.values() if t.issuer is not issuer)
        if any(prefix and subject.startswith(prefix) for prefix in others):
            raise ValueError("the subject bears the prefix of another issuer")
        return subject

    async def renew(self) -> None:
        """Download the keys that it is time to."""
        await asyncio.gather(*(trusted.keys.renew() for trusted in self._by_name.values()))

    def _read(self, content: bytes) -> Mapping[str, Trusted]:
        file = strict_json.read_as(IssuersFile, content)
        issuers = _by_name([*self._own, *(Trusted(i, self._source(i)) for i in file.issuers)])
        in_use = [trusted.keys for trusted in issuers.values()]
        self._downloads = {key: one for key, one in self._downloads.items() if one in in_use}
        log.info("issuers_read", version=file.version, issuers=list(issuers))
        return issuers

    def _source(self, issuer: Issuer) -> KeySource:
        if issuer.jwks_url is None:
            return _keys_in_file(issuer, self._folder)
        ca_file = issuer.ca_file and self._folder / issuer.ca_file
        token_file = issuer.bearer_token_file and self._folder / issuer.bearer_token_file
        # What was downloaded outlasts a change of the file that does not concern it.
        key = (issuer.issuer, issuer.jwks_url, ca_file, token_file, issuer.refresh_seconds)
        if key not in self._downloads:
            self._downloads[key] = KeysAtUrl(
                issuer.jwks_url,
                ca_file=ca_file,
                bearer_token_file=token_file,
                refresh_seconds=issuer.refresh_seconds,
            )
        return self._downloads[key]


def _keys_in_file(issuer: Issuer, folder: Path) -> KeysInFile:
    if issuer.jwks_file is None:
        raise ValueError(f"{issuer.issuer} has no jwks_file")
    return KeysInFile(folder / issuer.jwks_file)


def _by_name(trusted: Sequence[Trusted]) -> Mapping[str, Trusted]:
    """Return the issuers by name; raises ValueError if two could be taken for each other."""
    by_name = {one.issuer.issuer: one for one in trusted}
    if len(by_name) < len(trusted):
        raise ValueError("two issuers have one name")
    prefixes = sorted(one.issuer.prefix for one in trusted if one.issuer.prefix)
    for shorter, longer in pairwise(prefixes):
        if longer.startswith(shorter):
            raise ValueError(f"the prefix {longer} begins with {shorter}, that of another issuer")
    return by_name
