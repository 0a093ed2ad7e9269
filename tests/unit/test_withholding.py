"""What of an answer is stored."""

from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

from services.chassis.contract import contract_methods
from services.chassis.policy import Method
from services.chassis.withholding import without_secrets
from vafa.gateway.v1 import access_pb2

METHODS = {method.path: method for method in contract_methods()}
ANSWER = access_pb2.CreateApiKeyResponse(
    api_key=access_pb2.ApiKey(name="apiKeys/till"),
    secret="vafa_till_secret",  # noqa: S106
)


def test_a_secret_is_left_out_and_said_to_be() -> None:
    assert without_secrets(ANSWER) == access_pb2.CreateApiKeyResponse(
        api_key=ANSWER.api_key, secret_withheld=True
    )


def test_the_answer_itself_stays_whole() -> None:
    without_secrets(ANSWER)
    assert ANSWER.secret
    assert not ANSWER.secret_withheld


def test_nothing_is_said_to_be_withheld_where_there_was_nothing() -> None:
    answer = access_pb2.CreateApiKeyResponse(api_key=ANSWER.api_key)
    assert without_secrets(answer) == answer


def test_an_answer_without_secrets_is_stored_as_it_is() -> None:
    assert without_secrets(ANSWER.api_key) is ANSWER.api_key


@pytest.mark.parametrize("path", [path for path, method in METHODS.items() if method.writes])
def test_the_secrets_of_a_stored_answer_are_marked_in_the_contract(path: str) -> None:
    method: Method = METHODS[path]
    fields: Any = method.descriptor.output_type.fields_by_name
    for name, field in fields.items():
        if name.endswith("_withheld"):
            secret = fields[name.removesuffix("_withheld")]
            assert field.cpp_type == FieldDescriptor.CPPTYPE_BOOL
            assert secret.GetOptions().debug_redact
        is_secret = name in ("secret", "token", "password", "private_key")
        assert not is_secret or f"{name}_withheld" in fields
