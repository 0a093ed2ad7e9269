"""How names are compared and found.

A name is stored as it was written. It is found through rows made by `name_parts`: a query
is cut into words by `query_words`, and a word occurs in a name exactly if some part p of
that name has word <= p < prefix_end(word) in code point order. Words of more than 64
characters are compared by their first 64.
"""

import re
import sys
import unicodedata

_REMEMBERED_CHARACTERS = 20_000  # more than all names of a business hold
_PART_LENGTH = 64  # in characters, of the longest row of the index

_WORD = re.compile(r"\w[^ ]*")  # a word may hold vowel signs, but does not begin with one

# One letter, typed on different keyboards or kept from Arabic spelling.
_SAME_LETTERS = {
    "\u0671": "\u0627",  # alef wasla: alef
    "\u0643": "\u06a9",  # Arabic kaf: Persian kaf
    "\u064a": "\u06cc",  # Arabic yeh: Persian yeh
    "\u0649": "\u06cc",  # alef maksura
    "\u0629": "\u0647",  # teh marbuta: heh
    "\u06c3": "\u0647",  # teh marbuta goal
    "\u06d5": "\u0647",  # ae, to which heh with yeh above decomposes
    "\u06c1": "\u0647",  # heh goal
    "\u06be": "\u0647",  # heh doachashmee
    "\u0131": "i",  # dotless i: its capital is I, so without this case would matter
}

# Letters and marks that spellings of one name have or lack.
_LEFT_OUT = frozenset(
    "\u0621\u0674"  # hamza on the line, high hamza
    "\u0640"  # kashida
    "\u034f"  # grapheme joiner
).union(
    # Variation selectors.
    map(chr, range(0xFE00, 0xFE10)),
    map(chr, range(0xE0100, 0xE01F0)),
)


def _is_accent(character: str) -> bool:
    # By canonical combining class: 10 to 36 are the points of Hebrew, Arabic and Syriac,
    # 200 and above the accents. What lies between are the vowel signs of other scripts,
    # which make another word.
    combining_class = unicodedata.combining(character)
    return 10 <= combining_class <= 36 or combining_class >= 200


def _fold_character(character: str) -> str:
    letter = _SAME_LETTERS.get(character, character)
    category = unicodedata.category(letter)
    # Cf holds the zero-width (non-)joiners and the bidirectional controls.
    if letter in _LEFT_OUT or category in {"Cf", "Me"} or _is_accent(letter):
        return ""
    if letter.isdecimal():
        return str(unicodedata.decimal(letter))
    if letter.isalnum() or category.startswith("M"):
        return letter
    return " "


class _Folded(dict[int, str]):
    """What each character folds to, found out when it is first met."""

    def __missing__(self, code: int) -> str:
        folded = _fold_character(chr(code))
        if len(self) < _REMEMBERED_CHARACTERS:
            self[code] = folded
        return folded


_FOLDED = _Folded()


def fold(text: str) -> str:
    """Return the words of a text in the form by which names are compared.

    Spellings that differ only in case, accents, vowel points, hamza, kashida, the script of
    digits, invisible characters, compatibility forms or Arabic against Persian letters fold
    to one. Words are separated by single spaces, and punctuation separates words; a
    zero-width non-joiner joins them. The result is decomposed, and folds to itself.
    """
    caseless = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    folded = caseless.translate(_FOLDED)
    # Once more, since marks may have come together that were apart.
    return " ".join(_WORD.findall(unicodedata.normalize("NFKD", folded)))


def compact(text: str) -> str:
    """Return the search key of a name: the folded text without its spaces.

    A compound written joined, spaced or with a zero-width non-joiner has one key.
    """
    return fold(text).replace(" ", "")


def name_parts(*names: str) -> tuple[str, ...]:
    """Return the rows of an index in which a prefix range finds any part of any of the names.

    They are the distinct suffixes of the search keys, each cut to 64 characters, in code
    point order; none for names without a letter or digit. There are at most as many as the
    keys have characters: about as many as the names have.
    """
    keys = {compact(name) for name in names}
    return tuple(
        sorted({key[start : start + _PART_LENGTH] for key in keys for start in range(len(key))})
    )


def query_words(query: str) -> tuple[str, ...]:
    """Return the distinct folded words of a query, each cut to 64 characters, longest first.

    Empty if the query holds no letter or digit to search for.
    """
    words = dict.fromkeys(word[:_PART_LENGTH] for word in fold(query).split())
    return tuple(sorted(words, key=len, reverse=True))


def prefix_end(prefix: str) -> str:
    """Return the smallest string above every string that begins with the prefix.

    The order is that of code points; the result holds no surrogate that the prefix does not
    hold, so that it can be sent to a database.

    Raises ValueError if no string is above them all: the prefix is empty, or U+10FFFF only.
    """
    stem = prefix.rstrip(chr(sys.maxunicode))
    if not stem:
        raise ValueError("a prefix of no character below U+10FFFF has no end")
    following = ord(stem[-1]) + 1
    if 0xD800 <= following <= 0xDFFF:
        following = 0xE000
    return stem[:-1] + chr(following)
