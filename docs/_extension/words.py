"""Text in which quotes and backslashes take a separator's meaning away, as in a shell."""

from collections.abc import Sequence


class BadReference(ValueError):
    """A reference to a stored result that leads nowhere, or is written wrong. One line that says which part."""


Marked = Sequence[tuple[str, bool]]
"""Characters, each with whether it stands for itself: inside quotes and after a backslash it separates nothing."""


def marked(text: str) -> Marked:
    """The characters of a text without its quotes. Raises `BadReference` where a quote is not closed."""
    found: list[tuple[str, bool]] = []
    quoted = False
    characters = iter(text)
    for character in characters:
        if character == '"':
            quoted = not quoted
            found.append(("", True))  # so an empty pair of quotes is a word, too
        elif character == "\\" and not quoted:
            found.append((next(characters, "\\"), True))
        else:
            found.append((character, quoted))
    if quoted:
        raise BadReference(f"{text}: a quote is not closed")
    return found


def split(characters: Marked, separator: str) -> list[Marked]:
    """The pieces between the places where a separator stands that is not quoted."""
    pieces: list[list[tuple[str, bool]]] = [[]]
    i = 0
    while i < len(characters):
        following = characters[i : i + len(separator)]
        if "".join(c for c, _ in following) == separator and not any(literal for _, literal in following):
            pieces.append([])
            i += len(separator)
        else:
            pieces[-1].append(characters[i])
            i += 1
    return list(pieces)


def words(characters: Marked) -> list[Marked]:
    """The pieces between spaces."""
    return [piece for piece in split(characters, " ") if piece]


def plain(characters: Marked) -> str:
    """The characters as they are."""
    return "".join(character for character, _ in characters)


def is_quoted(characters: Marked) -> bool:
    """Whether any of the characters was quoted."""
    return any(literal for _, literal in characters)
