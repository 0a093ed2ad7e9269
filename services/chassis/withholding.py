"""Answers as they may be stored: without the secrets that are told once.

A field of an answer is such a secret if the contract puts a `bool {field}_withheld` beside it,
which says to a caller who repeats the request that the secret is left out.
"""

import functools

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

MARK = "_withheld"


def without_secrets(answer: Message) -> Message:
    """Return the answer with its secrets left out and marked as such; itself if it has none."""
    secrets = [name for name in _secret_fields(answer.DESCRIPTOR) if getattr(answer, name)]
    if not secrets:
        return answer
    stored = type(answer)()
    stored.CopyFrom(answer)
    for name in secrets:
        stored.ClearField(name)
        setattr(stored, name + MARK, True)
    return stored


@functools.cache
def _secret_fields(descriptor: Descriptor) -> tuple[str, ...]:
    fields = descriptor.fields_by_name
    return tuple(name for name in fields if name + MARK in fields)
