"""Which names are found by which spelling, and which are not."""

import sys
import unicodedata
from bisect import bisect_left

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.contacts.rules.names import compact, fold, name_parts, prefix_end, query_words

ZWNJ = "\u200c"

# Half of the names are made of what real ones are made of, so that letters, marks, joiners
# and spaces meet often.
NAMES = st.text(max_size=200) | st.text(
    "ابپتعلیيىكکگهةۀئؤءآأ\u0640\u0651\u064e\u0670\u200c\u200d\u202b aeéßİıIZ'-.۱٢3ﷺﻻ한が",
    max_size=200,
)


def occurs(query: str, *names: str) -> bool:
    """Tell whether a search for the query finds a contact of these names."""
    parts = name_parts(*names)

    def stands_in_index(word: str) -> bool:
        first = bisect_left(parts, word)
        return first < bisect_left(parts, prefix_end(word))

    words = query_words(query)
    return bool(words) and all(map(stands_in_index, words))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(f"علی{ZWNJ}رضا", "علی رضا", id="non-joiner and space"),
        pytest.param(f"علی{ZWNJ}رضا", "علیرضا", id="non-joiner and joined"),
        pytest.param("علی رضا", "علیرضا", id="space and joined"),
        pytest.param("كريم", "کریم", id="Arabic and Persian kaf and yeh"),
        pytest.param("موسى", "موسی", id="alef maksura"),
        pytest.param("مؤمنی", "مومنی", id="hamza on waw"),
        pytest.param("رؤیا", "رویا", id="hamza on waw inside a word"),
        pytest.param("رئیسی", "رییسی", id="hamza on yeh"),
        pytest.param("أحمد", "احمد", id="hamza on alef"),
        pytest.param("إبراهيم", "ابراهیم", id="hamza under alef"),
        pytest.param("علاء", "علا", id="hamza on the line"),
        pytest.param("آرش", "ارش", id="alef with madda"),
        pytest.param("فاطمة", "فاطمه", id="teh marbuta"),
        pytest.param("فاطمۃ", "فاطمه", id="teh marbuta of Urdu keyboards"),
        pytest.param("ہادی", "هادی", id="heh of Urdu keyboards"),
        pytest.param("ھادی", "هادی", id="heh of Kurdish keyboards"),
        pytest.param("ٱلرحمن", "الرحمن", id="alef wasla"),
        pytest.param("خانۀ", "خانه", id="heh with yeh"),
        pytest.param("خانهٔ", "خانه", id="heh with combining hamza"),
        pytest.param("مـحـمـد", "محمد", id="kashida"),
        pytest.param("مُحَمَّد", "محمد", id="vowel points"),
        pytest.param("رحمٰن", "رحمن", id="superscript alef"),
        pytest.param("ﻋﻠﻲ", "علی", id="presentation forms"),
        pytest.param("شعبه ۱۲۳", "شعبه 123", id="Persian and ASCII digits"),
        pytest.param("شعبه ١٢٣", "شعبه ۱۲۳", id="Arabic and Persian digits"),
        pytest.param(
            "\u202bشرکت \u202aIBM\u202c ایران\u202c", "شرکت ibm ایران", id="bidi controls"
        ),
        pytest.param("Zoë", "zoe", id="diaeresis"),
        pytest.param("Zoe\u0308", "Zo\u00eb", id="composed and decomposed"),
        pytest.param("ÉMILE", "emile", id="capital with accent"),
        pytest.param("Straße", "STRASSE", id="sharp s"),
        pytest.param("İstanbul", "istanbul", id="capital dotted i"),
        pytest.param("Yılmaz", "YILMAZ", id="dotless i and its capital"),
        pytest.param("Nguyễn", "nguyen", id="two accents on one letter"),
        pytest.param("O'Brien-Smith", "obrien smith", id="punctuation"),
        pytest.param("ＡＢＣ", "abc", id="full-width letters"),
        pytest.param("A\u20dd", "a", id="enclosing circle"),
        pytest.param("葛\U000e0100城", "葛城", id="variation selector"),
    ],
)
def test_spellings_of_one_name_find_each_other(one: str, other: str) -> None:
    assert compact(one) == compact(other)
    assert occurs(one, other)
    assert occurs(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("Ahmed", "Ahmad", id="another vowel"),
        pytest.param("حسن", "حسین", id="a letter more"),
        pytest.param("کریم", "گریم", id="kaf and gaf"),
        pytest.param("رضا", "رزا", id="letters of one sound"),
        pytest.param("علی", "علا", id="yeh and alef"),
        pytest.param("پری", "بری", id="peh and beh"),
        pytest.param("۱۲۳", "۱۲۴", id="another digit"),
        pytest.param("กิน", "กน", id="a vowel sign above"),
        pytest.param("กุน", "กน", id="a vowel sign below"),
    ],
)
def test_different_names_do_not_find_each_other(one: str, other: str) -> None:
    assert compact(one) != compact(other)
    assert not occurs(one, other)
    assert not occurs(other, one)


def test_folding_keeps_words_apart_by_one_space() -> None:
    assert fold("  Ada,\tKing — Lovelace! ") == "ada king lovelace"


def test_a_non_joiner_keeps_a_compound_one_word() -> None:
    assert fold(f"حسین{ZWNJ}پور") == "حسینپور"


@given(NAMES)
@example("a\u0f72\u0621\u0f71")  # marks that come together only when a hamza is left out
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert compact(compact(text)) == compact(text)


@given(NAMES)
def test_folding_does_not_depend_on_how_characters_are_composed(text: str) -> None:
    assert fold(unicodedata.normalize("NFC", text)) == fold(text)
    assert fold(unicodedata.normalize("NFD", text)) == fold(text)


@given(NAMES)
def test_a_folded_text_is_words_that_begin_with_a_letter_or_digit(text: str) -> None:
    folded = fold(text)
    assert folded == " ".join(folded.split())
    assert all(word[0].isalnum() for word in folded.split())


@given(st.data(), NAMES.filter(compact))
def test_every_part_of_a_name_is_found_by_a_prefix(data: st.DataObject, name: str) -> None:
    key = compact(name)
    start = data.draw(st.integers(0, len(key) - 1))
    length = data.draw(st.integers(1, 64))
    assert any(part.startswith(key[start : start + length]) for part in name_parts(name))


@given(NAMES.filter(compact))
def test_a_name_is_found_by_itself(name: str) -> None:
    assert occurs(name, name)


@given(st.lists(NAMES, max_size=3))
def test_name_parts_are_distinct_sorted_and_short(names: list[str]) -> None:
    parts = name_parts(*names)
    assert list(parts) == sorted(set(parts))
    assert all(1 <= len(part) <= 64 for part in parts)


def test_name_parts_are_the_suffixes_of_every_name() -> None:
    assert name_parts("Ada B", "", "ada b", "Eda") == ("a", "ab", "adab", "b", "da", "dab", "eda")


def test_a_name_of_punctuation_has_no_parts() -> None:
    assert name_parts("", "—", "!?") == ()


def test_a_part_in_the_middle_of_a_name_is_found() -> None:
    assert occurs("مدرضا", "محمدرضا شجریان")
    assert occurs("رضاشج", "محمدرضا شجریان")


def test_each_word_of_a_query_must_occur() -> None:
    assert occurs("lovelace ada", "Ada King Lovelace")
    assert not occurs("ada babbage", "Ada King Lovelace")


def test_a_word_is_compared_by_its_first_64_characters() -> None:
    assert occurs("x" * 100, "x" * 64)
    assert not occurs("x" * 100, "x" * 63)


def test_query_words_are_distinct_and_the_longest_stands_first() -> None:
    assert query_words("Al ada AL Lovelace bob") == ("lovelace", "ada", "bob", "al")


def test_query_words_are_cut_to_64_characters() -> None:
    assert query_words("y" * 100) == ("y" * 64,)


@pytest.mark.parametrize("query", ["", " ", "—!", ZWNJ, "ـ", "\u064e", "\u0e34", "🙂"])
def test_a_query_without_a_letter_or_digit_has_no_words(query: str) -> None:
    assert query_words(query) == ()


LAST = chr(sys.maxunicode)
NEAR_THE_EDGES = st.text(st.sampled_from(["a", "b", "\ud7ff", "\ue000", LAST]), max_size=4)


@given(NEAR_THE_EDGES.filter(lambda prefix: prefix.strip(LAST)), NEAR_THE_EDGES)
def test_a_prefix_range_holds_just_the_strings_that_begin_with_the_prefix(
    prefix: str, text: str
) -> None:
    for candidate in (text, prefix + text):
        in_range = prefix <= candidate < prefix_end(prefix)
        assert in_range == candidate.startswith(prefix)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        ("ab", "ac"),
        ("\ud7ff", "\ue000"),
        ("a" + LAST, "b"),
        ("a" + LAST + LAST, "b"),
    ],
)
def test_a_prefix_ends_before_the_next_string_that_can_be_stored(prefix: str, end: str) -> None:
    assert prefix_end(prefix) == end


@given(NAMES.filter(compact))
def test_the_end_of_a_prefix_can_be_sent_to_a_database(name: str) -> None:
    assert prefix_end(compact(name)).encode().decode() == prefix_end(compact(name))


@pytest.mark.parametrize("prefix", ["", LAST, LAST + LAST])
def test_a_prefix_that_nothing_is_above_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="has no end"):
        prefix_end(prefix)
