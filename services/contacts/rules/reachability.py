"""The normal forms of e-mail addresses and phone numbers.

They are personal data: no error raised here repeats them.
"""

import functools
import re
import unicodedata
from typing import Any, NamedTuple

import phonenumbers
from email_validator import EmailNotValidError, validate_email

_ASCII_DIGITS = str.maketrans("۰۱۲۳۴۵۶۷۸۹٠١٢٣٤٥٦٧٨٩", "0123456789" * 2)

_INTERNATIONAL = re.compile(r"\+[0-9]+")
_E164 = re.compile(r"\+[0-9]{8,15}")
# An address of which only the domain leaves a question.
_PLAIN_EMAIL = re.compile(r"[a-z0-9]+(?:[._+-][a-z0-9]+)*@([a-z0-9.-]+)")
_LONGEST_EMAIL = 254
_REMEMBERED_DOMAINS = 4096


def _is_separator(character: str) -> bool:
    # Pd holds the hyphens and dashes, Cf the bidirectional marks that come along when a
    # number is copied out of Persian text.
    return (
        character in ".()[]"
        or character.isspace()
        or unicodedata.category(character) in {"Pd", "Cf"}
    )


def normalise_phone(text: str) -> str:
    """Return a phone number in E.164 form, such as `+989121234567`: 8 to 15 digits.

    Persian and Arabic digits are read; spaces, hyphens, dots, brackets and invisible marks
    are taken out, and so is the 0 of national dialling after a country code that has one.
    The country is never guessed. The result is its own normal form.

    Raises ValueError if the number does not begin with `+` and a country code, or if that
    country has no numbers of such a length.
    """
    if _E164.fullmatch(text) and _is_settled(text):
        return text
    bare = "".join(character for character in text if not _is_separator(character))
    international = bare.translate(_ASCII_DIGITS)
    if not international.startswith("+"):
        raise ValueError("a phone number must begin with + and the country code")
    if not _INTERNATIONAL.fullmatch(international):
        raise ValueError("a phone number must hold digits, and only digits, after the +")
    try:
        number = phonenumbers.parse(international)
        e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        # Of several zeros after a country code each reading takes one out. Such a number
        # would change whenever it is sent back as it was kept; no country has one.
        settled = phonenumbers.parse(e164) == number
    except phonenumbers.NumberParseException:
        raise ValueError("a phone number must have a known country code and length") from None
    if not (settled and _E164.fullmatch(e164) and phonenumbers.is_possible_number(number)):
        raise ValueError("a phone number must be one that its country could use")
    return e164


class _NumberPlan(NamedTuple):
    """What may stand behind a country code."""

    code_length: int
    lengths: frozenset[int]
    taken_out: re.Pattern[str]


@functools.cache
def _number_plan(beginning: str) -> _NumberPlan | None:
    """Return the plan of the numbers that begin with these three digits."""
    for length in (1, 2, 3):
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(beginning[:length]))
        if regions:
            plan: Any = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(
                int(beginning[:length]), regions[0]
            )
            # Zeros in front have a meaning of their own in some countries.
            taken_out = re.compile(f"0|{plan.national_prefix_for_parsing or '0'}")
            return _NumberPlan(length, frozenset(plan.general_desc.possible_length), taken_out)
    return None


def _is_settled(e164: str) -> bool:
    """Whether a number is possible and nothing in it would be taken out; false if in doubt.

    A number that is written as it is kept need not be read as people write numbers, which
    takes thirty times as long.
    """
    plan = _number_plan(e164[1:4])
    if plan is None:
        return False
    national = e164[1 + plan.code_length :]
    return len(national) in plan.lengths and not plan.taken_out.match(national)


def normalise_email(text: str) -> str:
    """Return an e-mail address as it is kept: `local@domain`, at most 254 characters.

    Spaces around it are taken out; the domain is lower-case and in its own script rather
    than in Punycode; the case of the local part stays, save for role names such as `info`,
    which are lower-case.

    Raises ValueError if mail could not be sent to it from anywhere: the syntax is wrong, it
    comes with a display name, or the domain is reserved for local use, as `localhost` is.
    """
    address = text.strip()
    plain = _PLAIN_EMAIL.fullmatch(address)
    if plain and len(address) <= _LONGEST_EMAIL and _is_kept_as_it_is(plain[1]):
        return address
    try:
        return validate_email(address, check_deliverability=False).normalized
    except EmailNotValidError:
        raise ValueError("not an e-mail address that mail could be sent to") from None


@functools.lru_cache(_REMEMBERED_DOMAINS)
def _is_kept_as_it_is(domain: str) -> bool:
    """Whether addresses of a domain, in lower-case ASCII, are sound and kept as they are."""
    address = f"a@{domain}"
    try:
        return validate_email(address, check_deliverability=False).normalized == address
    except EmailNotValidError:
        return False


def email_key(address: str) -> str:
    """Return the form by which normalised e-mail addresses are compared: without case."""
    if address.isascii():
        return address.lower()
    local, at, domain = unicodedata.normalize("NFD", address).rpartition("@")
    # A domain is not case-folded: that would make ß into ss, which is another domain.
    return unicodedata.normalize("NFC", local.casefold() + at + domain.lower())
