"""The refusals of the gateway's own service."""

from typing import ClassVar

import grpc
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from services.chassis.errors import Refusal
from vafa.gateway.v1 import error_reason_pb2


class GatewayRefusal(Refusal):
    """A refusal with a reason of this service."""

    reasons: ClassVar[EnumTypeWrapper] = error_reason_pb2.ErrorReason  # type: ignore[assignment]


class RoleUnknown(GatewayRefusal):
    """There is no such role."""

    code, reason = grpc.StatusCode.INVALID_ARGUMENT, "ROLE_UNKNOWN"

    def __init__(self, role: str, field: str) -> None:
        super().__init__(f"{role} is no role", violations=[(field, "is no role")], role=role)


class RoleNotGranted(GatewayRefusal):
    """The role permits something that the caller is not permitted."""

    code, reason = grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_GRANTED"

    def __init__(self, role: str, permission: str) -> None:
        text = f"{role} permits {permission}, which the caller is not permitted"
        super().__init__(text, role=role, permission=permission)


class ExpiryInvalid(GatewayRefusal):
    """The key would have expired already, or live for too long."""

    code, reason = grpc.StatusCode.INVALID_ARGUMENT, "EXPIRY_INVALID"

    def __init__(self) -> None:
        text = "must lie ahead, by 400 days at most"
        super().__init__(f"expire_time {text}", violations=[("expire_time", text)])


class TokensNotIssued(GatewayRefusal):
    """This deployment signs no tokens of its own."""

    code, reason = grpc.StatusCode.FAILED_PRECONDITION, "TOKENS_NOT_ISSUED"

    def __init__(self) -> None:
        super().__init__("this deployment issues no tokens: its callers have other issuers")
