"""API keys in their normal form, or a refusal that says why not."""

from datetime import datetime

from services.chassis.codecs import time_of
from services.gateway import errors
from services.gateway.rules.lifetimes import DEFAULT_LIFETIME, is_expiry
from vafa.gateway.v1 import access_pb2

ApiKey = access_pb2.ApiKey


def check_api_key(_old: ApiKey | None, new: ApiKey, now: datetime) -> ApiKey:
    """Return the key with its expiry; raises ExpiryInvalid."""
    expire_time = time_of(new, "expire_time")
    if expire_time is None:
        new.expire_time.FromDatetime(now + DEFAULT_LIFETIME)
    elif not is_expiry(expire_time, now):
        raise errors.ExpiryInvalid
    return new
