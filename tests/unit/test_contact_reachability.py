"""Which phone numbers and e-mail addresses are accepted, and in which form they are kept."""

from collections.abc import Callable

import phonenumbers
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st

from services.contacts.rules.reachability import email_key, normalise_email, normalise_phone

IRANIAN_MOBILES = st.from_regex(r"\+989[0-9]{9}", fullmatch=True)
PERSIAN_DIGITS = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")
ARABIC_DIGITS = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
SEPARATORS = st.text(" -.()[]\t\u00a0\u2011\u2013\u200e\u200f\u061c\u202a\u202c\u2068", max_size=3)


def refusal_of(normalise: Callable[[str], str], text: str) -> str:
    """Return why a text is refused; empty if it is accepted."""
    try:
        normalise(text)
    except ValueError as refusal:
        return str(refusal)
    return ""


@pytest.mark.parametrize(
    ("text", "number"),
    [
        pytest.param("+98 912 123-4567", "+989121234567", id="spaces and a hyphen"),
        pytest.param("+98 (912) 123.45.67", "+989121234567", id="brackets and dots"),
        pytest.param("+۹۸ ۹۱۲ ۱۲۳ ۴۵۶۷", "+989121234567", id="Persian digits"),
        pytest.param("+٩٨٩١٢١٢٣٤٥٦٧", "+989121234567", id="Arabic digits"),
        pytest.param("\u202a+98 912 123 4567\u202c", "+989121234567", id="bidi marks"),
        pytest.param("+98 (0)912 123 4567", "+989121234567", id="the 0 of national dialling"),
        pytest.param("+39 06 1234 5678", "+390612345678", id="a 0 that belongs to the number"),
        pytest.param("+1 202-555-0123", "+12025550123", id="North America"),
        pytest.param("+354 421 2345", "+3544212345", id="a short one"),
    ],
)
def test_a_phone_number_is_kept_in_e164_form(text: str, number: str) -> None:
    assert normalise_phone(text) == number


@given(IRANIAN_MOBILES, st.lists(SEPARATORS, min_size=14, max_size=14))
def test_the_script_and_grouping_of_a_phone_number_make_no_difference(
    number: str, separators: list[str]
) -> None:
    grouped = separators[0] + "".join(map(str.__add__, number, separators[1:]))
    assert normalise_phone(grouped) == number
    assert normalise_phone(grouped.translate(PERSIAN_DIGITS)) == number
    assert normalise_phone(grouped.translate(ARABIC_DIGITS)) == number


@given(st.from_regex(r"\+[1-9][0-9]{0,2}[0-9]{4,14}", fullmatch=True))
def test_a_phone_number_is_refused_unnamed_or_kept_in_a_form_of_its_own(text: str) -> None:
    reason = refusal_of(normalise_phone, text)
    if reason:
        assert not any(character.isdigit() for character in reason)
    else:
        number = normalise_phone(text)
        assert normalise_phone(number) == number
        assert 8 <= len(number.removeprefix("+")) <= 15


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("09121234567", "country code", id="national"),
        pytest.param("989121234567", "country code", id="no plus"),
        pytest.param("00989121234567", "country code", id="00 is not a plus"),
        pytest.param("tel:+989121234567", "country code", id="a URI"),
        pytest.param("", "country code", id="nothing"),
        pytest.param("+", "digits", id="a plus alone"),
        pytest.param("++989121234567", "digits", id="two pluses"),
        pytest.param("+989121234567x5", "digits", id="an extension"),
        pytest.param("+1 800 FLOWERS", "digits", id="letters"),
        pytest.param("+98912123456²", "digits", id="a superscript"),
        pytest.param("+999123456789", "known country code", id="a code of no country"),
        pytest.param("+98", "known country code", id="a country code alone"),
        pytest.param("+98912123456789012345", "known country code", id="far too long"),
        pytest.param("+98912123456", "country could use", id="a digit short"),
        pytest.param("+9891212345678", "country could use", id="a digit long"),
        pytest.param("+981234", "country could use", id="fewer than 8 digits"),
        pytest.param("+96400659784437", "country could use", id="zeros after the country code"),
    ],
)
def test_a_phone_number_that_cannot_be_dialled_from_abroad_is_refused(
    text: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        normalise_phone(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        pytest.param("ada@example.org", "ada@example.org", id="as it is kept"),
        pytest.param(" \tada@example.com\n", "ada@example.com", id="spaces around"),
        pytest.param("Ada.King@Example.ORG", "Ada.King@example.org", id="case of the domain only"),
        pytest.param("ada+club@example.org", "ada+club@example.org", id="a tag"),
        pytest.param("INFO@example.org", "info@example.org", id="a role name"),
        pytest.param("ada@xn--bcher-kva.example", "ada@bücher.example", id="Punycode"),
        pytest.param("علی@مثال.ایران", "علی@مثال.ایران", id="Persian"),
        pytest.param("zoe\u0308@example.org", "zo\u00eb@example.org", id="decomposed"),
        pytest.param("a" * 242 + "@example.org", "a" * 242 + "@example.org", id="254 long"),
    ],
)
def test_an_email_address_is_kept_in_its_normal_form(text: str, address: str) -> None:
    assert normalise_email(text) == address


@given(st.emails(domains=st.sampled_from(["example.org", "EXAMPLE.com", "mail.example.net"])))
def test_an_accepted_email_address_is_its_own_normal_form(text: str) -> None:
    address = normalise_email(text)
    assert normalise_email(address) == address
    assert email_key(address) == email_key(normalise_email(text.swapcase()))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.org",
        "ada@",
        "ada@example",
        "ada@localhost",
        "ada@shop.invalid",
        "ada@shop.test",
        "ada@[192.0.2.1]",
        "ada..king@example.org",
        "ada king@example.org",
        "ada@king@example.org",
        '"ada king"@example.org',
        "Ada King <ada@example.org>",
        "ada@example.org, eda@example.org",
        "ada\u200c@example.org",
        "ada\x00@example.org",
        "ada@exam_ple.org",
        "a" * 243 + "@example.org",
    ],
)
def test_an_email_address_that_no_mail_could_be_sent_to_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not an e-mail address that mail could be sent to$"):
        normalise_email(text)


@given(st.text(max_size=20), st.text(max_size=20))
def test_an_email_address_is_refused_unnamed_or_kept_in_a_form_of_its_own(
    local: str, domain: str
) -> None:
    text = f"{local}@{domain}"
    reason = refusal_of(normalise_email, text)
    if reason:
        assert reason == "not an e-mail address that mail could be sent to"
    else:
        address = normalise_email(text)
        assert normalise_email(address) == address


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("Ada.King@example.org", "ada.KING@EXAMPLE.org", id="case"),
        pytest.param("ZOË@example.org", "zoe\u0308@example.org", id="case and composition"),
        pytest.param("ada@bücher.example", "ADA@xn--bcher-kva.example", id="Punycode"),
    ],
)
def test_email_addresses_are_compared_without_case(one: str, other: str) -> None:
    assert email_key(normalise_email(one)) == email_key(normalise_email(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("zoe@example.org", "zoë@example.org", id="accent"),
        pytest.param("ada@straße.example", "ada@strasse.example", id="domains of two owners"),
        pytest.param("ada.king@example.org", "adaking@example.org", id="dot"),
        pytest.param("ada+club@example.org", "ada@example.org", id="tag"),
    ],
)
def test_email_addresses_of_different_mailboxes_stay_apart(one: str, other: str) -> None:
    assert email_key(normalise_email(one)) != email_key(normalise_email(other))


def with_a_space(number: str) -> str:
    """Return a number in a form that must be read as people write numbers."""
    return f"+ {number[1:]}"


@given(st.from_regex(r"\+[1-9][0-9]{7,14}", fullmatch=True))
def test_a_number_in_e164_form_is_judged_as_in_any_other(number: str) -> None:
    assert refusal_of(normalise_phone, number) == refusal_of(normalise_phone, with_a_space(number))
    if not refusal_of(normalise_phone, number):
        assert normalise_phone(number) == normalise_phone(with_a_space(number))


@pytest.mark.parametrize("code", phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
def test_a_number_of_any_country_is_judged_alike_in_e164_form(code: int) -> None:
    for length in range(8, 16):
        for begin in ("", "0", "00", "1", "2", "06", "8", "810", "9"):
            number = "+" + f"{code}{begin}".ljust(length, "3")
            spaced = with_a_space(number)
            assert refusal_of(normalise_phone, number) == refusal_of(normalise_phone, spaced)
            if not refusal_of(normalise_phone, number):
                assert normalise_phone(number) == normalise_phone(spaced)


LOCAL = st.from_regex(r"[a-zA-Z0-9._+-]{1,70}|info|INFO", fullmatch=True)
SOUND_DOMAINS = ["example.org", "EXAMPLE.org", "gmail.com", "xn--mnchen-3ya.de", "münchen.de"]
OTHER_DOMAINS = ["localhost", "a.test", "example.c0m1", "a..b", "-a.de", "a-.de", "ab--c.de"]
OTHER_DOMAINS += ["1.2.3.4", "x" * 250, ".".join(["x" * 60] * 4) + ".org"]
DOMAINS = st.sampled_from(SOUND_DOMAINS + OTHER_DOMAINS) | st.from_regex(
    r"[a-z0-9.-]{1,30}", fullmatch=True
)


@given(LOCAL, DOMAINS)
def test_an_address_is_judged_as_the_library_judges_it(local: str, domain: str) -> None:
    try:
        judged = validate_email(f"{local}@{domain}", check_deliverability=False).normalized
    except EmailNotValidError:
        assert refusal_of(normalise_email, f"{local}@{domain}")
    else:
        assert normalise_email(f"{local}@{domain}") == judged
