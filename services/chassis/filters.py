"""The filter language, a part of AIP-160: from text to a checked expression.

    lifecycle_stage = CUSTOMER AND (labels.city = "Shiraz" OR NOT emails.address = *@example.org)

`AND` may be left out between two terms, `-` stands for `NOT`, and `OR` binds more tightly
than `AND`. `field:*` asks whether a field is there. Text is compared by code point, with
regard to case; a text that ends in `*` stands for all that begin with what precedes it.
"""

import dataclasses
import enum
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

MAXIMUM_NESTING = 32
MAXIMUM_COMPARISONS = 100
OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_PARSER = Lark(
    r"""
    ?start: sequence
    ?sequence: alternatives ("AND"? alternatives)*
    ?alternatives: term ("OR" term)*
    ?term: simple | ("NOT" | "-") simple -> negation
    ?simple: restriction | "(" sequence ")"
    restriction: NAME (OPERATOR (WORD | QUOTED))?

    OPERATOR: "<=" | ">=" | "!=" | "=" | "<" | ">" | ":"
    QUOTED: /"([^"\\]|\\[\s\S])*"|'([^'\\]|\\[\s\S])*'/
    NAME: /[^-\s()"'=<>!:][^\s()"'=<>!:]*/ (/(?<=\.)/ QUOTED)?
    WORD: /[^\s()"'=<>!:][^\s()"'=<>!]*/
    %ignore /\s+/
    """,
    parser="lalr",
)
_PIECE = re.compile(r"""\\[\\"'*]|[^\\*]+|[\\*]""")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_INTEGER = re.compile("-?[0-9]{1,19}")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})",
    re.IGNORECASE | re.ASCII,
)


class FilterSyntaxError(ValueError):
    """A filter that is not of the language: what is wrong, at which character from 0 on."""

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(f"{problem} (at character {position})")
        self.position = position
        self.problem = problem


class FieldType(enum.Enum):
    """What a field is compared with."""

    TEXT = "text"
    INTEGER = "a whole number from -9223372036854775808 to 9223372036854775807"
    BOOLEAN = "true or false"
    TIME = "a time of RFC 3339, at most to the microsecond, such as 2026-01-31T23:59:59Z"
    ENUM = "one of its values"
    NAME = "a resource name of the kind that is listed"


@dataclass(frozen=True)
class FilterField:
    """A field that may stand in a filter.

    `path` is the way to it in the message: `display_name`; `labels.*` for a map, whose keys
    then stand in the place of `*`; `emails.address` for a field of a repeated message.
    `values` are the names of an ENUM. `normalise` brings a TEXT, or the beginning of one, to
    the form in which it is stored; the ValueError it may raise tells the caller why not.
    `ids` are those in a NAME, and a ValueError for what is none: names compare by their ids, one
    after another, as lists are ordered by them.
    """

    path: str
    type: FieldType
    values: Mapping[str, int] = dataclasses.field(default_factory=dict, hash=False)
    normalise: Callable[[str], str] | None = None
    ids: Callable[[str], tuple[str, ...]] | None = None


@dataclass(frozen=True)
class And:
    """All of the terms hold; there are at least two."""

    terms: tuple["Expression", ...]


@dataclass(frozen=True)
class Or:
    """At least one of the terms holds; there are at least two."""

    terms: tuple["Expression", ...]


@dataclass(frozen=True)
class Not:
    """The term does not hold."""

    term: "Expression"


@dataclass(frozen=True)
class Comparison:
    """Some value of the field compares with `value`, or begins with it if it is a prefix.

    A field that is not set has no value. The operator is one of OPERATORS: `:` is read as `=`,
    and `!=` as the Not of `=`, so `emails.address != x` means that no address is x.
    """

    field: FilterField
    key: str | None
    operator: str
    value: "Value"
    prefix: bool = False


@dataclass(frozen=True)
class Presence:
    """The field is there: a key in a map, or else some value that is not empty, 0 or false."""

    field: FilterField
    key: str | None


Expression = And | Or | Not | Comparison | Presence
# What a field is compared with; the ids stand for a NAME.
Value = str | int | datetime | tuple[str, ...]


def parse(text: str, fields: Mapping[str, FilterField]) -> Expression | None:
    """Return what the filter asks for, or None if it is blank. `fields` are keyed by path.

    Raises FilterSyntaxError for anything else that is not a filter over these fields, also if
    it is nested deeper than 32 parentheses or has more than 100 comparisons.
    """
    if not text or text.isspace():
        return None
    if unfit := _NO_TEXT.search(text):
        raise FilterSyntaxError(unfit.start(), "No text holds this character.")
    try:
        tree = _syntax_tree(text)
    except UnexpectedInput as error:
        raise _syntax_error(text, error) from None
    return _expression(tree, fields)


def _syntax_tree(text: str) -> Tree[Token]:
    # The limits are checked token by token, so that a hostile filter is not read to its end.
    state = _PARSER.parse_interactive(text)
    nesting = comparisons = 0
    for token in state.iter_parse():
        nesting += (token.type == "LPAR") - (token.type == "RPAR")
        comparisons += token.type == "NAME"
        if nesting > MAXIMUM_NESTING:
            raise _error(token, f"More than {MAXIMUM_NESTING} nested parentheses.")
        if comparisons > MAXIMUM_COMPARISONS:
            raise _error(token, f"More than {MAXIMUM_COMPARISONS} comparisons.")
    tree: Tree[Token] = state.feed_token(Token("$END", ""))
    return tree


def _syntax_error(text: str, error: UnexpectedInput) -> FilterSyntaxError:
    position = error.pos_in_stream or 0
    match error:
        case UnexpectedToken(token=Token(type="$END")):
            return FilterSyntaxError(len(text), "The filter ends too early.")
        case UnexpectedToken(token=Token(type="QUOTED") as token):
            return _error(token, f"{_shown(token)} does not follow a field and an operator.")
        case UnexpectedCharacters(char="'" | '"'):
            return FilterSyntaxError(position, "This quotation is not closed.")
    return FilterSyntaxError(position, f"{text[position]} cannot stand here.")


def _shown(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


def _error(token: Token, problem: str, *, offset: int = 0) -> FilterSyntaxError:
    return FilterSyntaxError((token.start_pos or 0) + offset, problem)


def _expression(tree: Tree[Token], fields: Mapping[str, FilterField]) -> Expression:
    if tree.data == "restriction":
        return _restriction([leaf for leaf in tree.children if isinstance(leaf, Token)], fields)
    terms = [_expression(child, fields) for child in tree.children if isinstance(child, Tree)]
    if tree.data == "negation":
        return Not(terms[0])
    return And(tuple(terms)) if tree.data == "sequence" else Or(tuple(terms))


def _restriction(tokens: list[Token], fields: Mapping[str, FilterField]) -> Expression:
    name = tokens[0]
    if len(tokens) == 1:
        raise _error(name, f"{_shown(name)} stands alone: write field, operator and value.")
    sign, literal = tokens[1:]
    field, key = _resolve(name, fields)
    if literal in ("AND", "OR", "NOT"):
        raise _error(literal, f"{literal} is an operator: quote it to compare with it.")
    if sign == ":" and literal == "*":
        return Presence(field, key)
    if key is None and field.path.endswith(".*"):
        if sign != ":":
            raise _error(sign, f"{name} holds keys: compare one of them, as in {name}.city.")
        return Presence(field, _exact(literal))
    value, prefix = _value(field, literal)
    if sign not in ("=", "!=", ":"):
        if field.type in (FieldType.BOOLEAN, FieldType.ENUM):
            raise _error(sign, f"{field.path} has no order: compare it with = or !=.")
        if prefix:
            raise _error(sign, "A text that ends in * is compared with = or !=.")
    comparison = Comparison(field, key, str(sign) if sign in OPERATORS else "=", value, prefix)
    return Not(comparison) if sign == "!=" else comparison


def _resolve(name: Token, fields: Mapping[str, FilterField]) -> tuple[FilterField, str | None]:
    """Return the field of that name, and the key in it if it is a map."""
    for path, field in fields.items():
        if name in (path, path.removesuffix(".*")):
            return field, None
        parent = path.removesuffix("*")
        if parent not in (path, name) and name.startswith(parent):
            return field, _exact(name, begin=len(parent))
    raise _error(name, f"There is no field {_shown(name)} to filter by.")


def _value(field: FilterField, literal: Token) -> tuple[Value, bool]:
    """Return what the field is compared with, and whether that is the beginning of a text."""
    text, prefix = _unescape(literal)
    if field.type is FieldType.TEXT:
        try:
            text = field.normalise(text) if field.normalise else text
        except ValueError as error:
            raise _error(literal, str(error)) from error
        if prefix and not text:
            raise _error(literal, f"Nothing precedes the *: write {field.path}:* for any value.")
        return text, prefix
    try:
        if prefix:
            raise ValueError("only text begins with something")
        return _typed(field, text, quoted=literal.type == "QUOTED"), False
    except (ValueError, KeyError, OverflowError):
        expected = ", ".join(field.values) or field.type.value
        raise _error(literal, f"{field.path} is compared with {expected}.") from None


def _typed(field: FilterField, text: str, *, quoted: bool) -> Value:
    if field.ids:
        return field.ids(text)
    if field.type is FieldType.ENUM:
        return field.values[text]
    if field.type is FieldType.TIME:
        if not _TIME.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    if quoted:
        raise ValueError
    if field.type is FieldType.BOOLEAN:
        return {"true": True, "false": False}[text]
    if not _INTEGER.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise ValueError
    return int(text)


def _exact(token: Token, begin: int = 0) -> str:
    text, prefix = _unescape(token, begin)
    if prefix:
        raise _error(token, "A key is written in full, without a *.", offset=len(token) - 1)
    return text


def _unescape(token: Token, begin: int = 0) -> tuple[str, bool]:
    """Return the text of the token from there on, and whether a * after it was taken off."""
    quoted = token.startswith(('"', "'"), begin)
    raw = token[begin + 1 : -1] if quoted else token[begin:]
    text = ""
    for piece in _PIECE.finditer(raw):
        offset = begin + quoted + piece.start()
        if piece[0] == "\\":
            raise _error(token, "After a \\ stands one of \\ * \" '.", offset=offset)
        if piece[0] == "*":
            if piece.end() == len(raw):
                return text, True
            raise _error(token, "A * stands only at the end; write \\* for itself.", offset=offset)
        text += piece[0].removeprefix("\\")
    return text, False
