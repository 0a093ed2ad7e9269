"""The declared resources of the gateway."""

from services.chassis import codecs
from services.chassis.finding import scalars
from services.chassis.resource import Resource
from services.gateway import checks
from services.gateway.schema import api_key_labels, api_keys
from vafa.gateway.v1 import access_pb2

API_KEY: Resource[access_pb2.ApiKey] = Resource(
    message=access_pb2.ApiKey,
    table=api_keys,
    columns={
        "display_name": codecs.plain(api_keys.c.display_name),
        "roles": codecs.texts(api_keys.c.roles),
        "expire_time": codecs.time(api_keys.c.expire_time),
        "state": codecs.plain(api_keys.c.state),
        "revoke_time": codecs.time(api_keys.c.revoke_time),
        "creator": codecs.plain(api_keys.c.creator),
    },
    labels=api_key_labels,
    filters=scalars(api_keys, "display_name", "state", "creator", "create_time", "expire_time"),
    orders=("create_time", "expire_time", "display_name"),
    check=checks.check_api_key,
)
