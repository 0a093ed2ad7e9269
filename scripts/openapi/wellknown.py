"""The messages of Google's that the contract uses, in the JSON form that each has of its own."""

from collections.abc import Mapping
from typing import Any

from scripts.openapi.bounds import int64_pattern

_ANY = {
    "type": "object",
    "additionalProperties": True,
    "description": "A message of the type that `@type` names.",
    "required": ["@type"],
    "properties": {"@type": {"type": "string"}},
}

_DURATION = {
    "type": "string",
    "pattern": "^-?[0-9]{1,12}([.][0-9]{1,9})?s$",
    "description": "Seconds, such as `1.5s`.",
}

WELL_KNOWN: Mapping[str, dict[str, Any]] = {
    "google.protobuf.Timestamp": {
        "type": "string",
        "format": "date-time",
        "description": "A time as in RFC 3339, such as `2026-03-21T06:30:00Z`, in the years 1"
        " to 9999. Answers are in UTC.",
    },
    "google.protobuf.Duration": _DURATION,
    "google.protobuf.FieldMask": {
        "type": "string",
        "pattern": "^([*]|[A-Za-z0-9_.]+(,[A-Za-z0-9_.]+)*)?$",
        "description": "Paths of fields, in lowerCamelCase and with commas between them, such"
        " as `displayName,labels`.",
    },
    "google.protobuf.Struct": {
        "type": "object",
        "additionalProperties": True,
        "description": "Any JSON object.",
    },
    "google.protobuf.Empty": {"type": "object", "description": "Nothing."},
    "google.protobuf.Any": _ANY,
    "google.type.Money": {
        "type": "object",
        "description": "An amount: `units` whole ones and `nanos` of a thousand millionth, of"
        " the same sign.",
        "properties": {
            "currencyCode": {
                "type": "string",
                "description": "The code of ISO 4217.",
                "examples": ["IRR"],
            },
            "units": {"type": "string", "format": "int64", "pattern": int64_pattern(None, None)},
            "nanos": {
                "type": "integer",
                "format": "int32",
                "minimum": -999_999_999,
                "maximum": 999_999_999,
            },
        },
    },
    "google.type.Date": {
        "type": "object",
        "description": "A date of the Gregorian calendar.",
        "properties": {
            "year": {"type": "integer", "minimum": 0, "maximum": 9999},
            "month": {"type": "integer", "minimum": 0, "maximum": 12},
            "day": {"type": "integer", "minimum": 0, "maximum": 31},
        },
    },
    "google.longrunning.Operation": {
        "type": "object",
        "description": "Work that goes on after its call was answered. Ask for it by its name"
        " until it is done.",
        "properties": {
            "name": {
                "type": "string",
                "description": "The resource name, `operations/{operation}`.",
            },
            "metadata": {"$ref": "#/components/schemas/Any"},
            "done": {
                "type": "boolean",
                "description": "Whether it has ended, with an `error` or a `response`.",
            },
            "error": {"$ref": "#/components/schemas/Status"},
            "response": {"$ref": "#/components/schemas/Any"},
        },
        "not": {"required": ["error", "response"]},
    },
}
# Referred to by what stands above, or by every answer that is a refusal.
ALWAYS: Mapping[str, dict[str, Any]] = {
    "Any": _ANY,
    "Duration": _DURATION,
    "Status": {
        "type": "object",
        "description": "A refusal. Act on the `reason` of its ErrorInfo; the message is for"
        " people.",
        "required": ["code", "message"],
        "properties": {
            "code": {
                "type": "integer",
                "description": "The number of the google.rpc.Code.",
                "minimum": 1,
                "maximum": 16,
            },
            "message": {"type": "string"},
            "details": {
                "type": "array",
                "items": {
                    "oneOf": [
                        {"$ref": "#/components/schemas/ErrorInfo"},
                        {"$ref": "#/components/schemas/BadRequest"},
                        {"$ref": "#/components/schemas/RetryInfo"},
                    ]
                },
            },
        },
    },
    "ErrorInfo": {
        "type": "object",
        "description": "Why the call was refused.",
        "required": ["@type", "reason", "domain"],
        "properties": {
            "@type": {"const": "type.googleapis.com/google.rpc.ErrorInfo"},
            "reason": {"type": "string", "pattern": "^[A-Z][A-Z0-9_]*$"},
            "domain": {
                "type": "string",
                "description": "The package of the enum that the reason belongs to.",
            },
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    },
    "BadRequest": {
        "type": "object",
        "description": "Which fields are to blame.",
        "required": ["@type"],
        "properties": {
            "@type": {"const": "type.googleapis.com/google.rpc.BadRequest"},
            "fieldViolations": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "field": {
                            "type": "string",
                            "description": "The path of the field, with the names of the"
                            " contract, such as `contact.phones[0].number`.",
                        },
                        "description": {"type": "string"},
                    },
                },
            },
        },
    },
    "RetryInfo": {
        "type": "object",
        "description": "How long to wait before the next try.",
        "required": ["@type"],
        "properties": {
            "@type": {"const": "type.googleapis.com/google.rpc.RetryInfo"},
            "retryDelay": {"$ref": "#/components/schemas/Duration"},
        },
    },
}
