"""Patterns of resource names, taken apart at the slashes of the names."""

from collections.abc import Iterator


def segment_patterns(pattern: str) -> list[str]:
    """Return a pattern for each segment of the names that a pattern of whole names takes.

    A choice between names becomes a choice in each segment: together the patterns take every
    name that the whole one takes, and maybe combinations that it does not.
    """
    inside = pattern.removeprefix("^").removesuffix("$")
    names = [_split(name, "/") for name in _alternatives(inside)]
    columns = zip(*names, strict=True)
    return [_either(list(dict.fromkeys(column))) for column in columns]


def _either(choices: list[str]) -> str:
    return f"^{choices[0]}$" if len(choices) == 1 else f"^({'|'.join(choices)})$"


def _alternatives(pattern: str) -> Iterator[str]:
    """Write out the choices that lie across slashes, each as a pattern of its own."""
    for start, end in _groups(pattern):
        inside = pattern[start + 1 : end]
        if "/" in inside:
            for choice in _split(inside, "|"):
                yield from _alternatives(pattern[:start] + choice + pattern[end + 1 :])
            return
    yield pattern


def _groups(pattern: str) -> Iterator[tuple[int, int]]:
    """Yield where the outermost groups of a pattern begin and end."""
    start = 0
    for place, (character, depth) in enumerate(_depths(pattern)):
        if character == "(" and depth == 0:
            start = place
        elif character == ")" and depth == 1:
            yield start, place


def _split(pattern: str, separator: str) -> list[str]:
    """Split a pattern at a separator that stands in no group and no set."""
    parts = [""]
    for character, depth in _depths(pattern):
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _depths(pattern: str) -> Iterator[tuple[str, int]]:
    """Yield each character with how many groups and sets are open before it."""
    depth = 0
    for character in pattern:
        yield character, depth
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(character, 0)
