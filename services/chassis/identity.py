"""Who calls."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Principal:
    """Who calls, as the token says.

    `subject` is of one issuer alone: it begins with the prefix of its issuer, which no subject of
    another begins with. `roles` are those that the token carries and its issuer is trusted for.
    """

    subject: str
    roles: tuple[str, ...]


# Who calls a public method, whatever token comes with it.
NOBODY = Principal("", ())
