"""Names of classes that are probably not what the user meant: texts that stand for no label, and one class in two
spellings."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from semisonic.data.sets.walk import count_of

NO_LABEL = frozenset(
    "nan none null nil na n/a #n/a <na> nat unknown unlabeled unlabelled ? - -- -1 -1.0 undefined missing".split()  # noqa: SIM905
)
"""What programs and people write for no label, in small letters."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?")
_LONGEST_NUMBER = 100
_SHOWN = 5
WAY_OUT = "list all classes as data.classes, or set data.doubts=warn"
"""For those who meant what they gave."""


def no_label_problems(where: str, lines: Mapping[str, Sequence[int]]) -> list[str]:
    """A line for each label in a CSV that stands for no label; `lines`: label -> the numbers of its lines."""
    return [
        f"data.csv: {where}{_numbered(own)} {'has' if len(own) == 1 else 'have'} the label {label!r}, which "
        f"mostly stands for none: leave the field empty where there is no label; if it is a class, {WAY_OUT}"
        for label, own in lines.items()
    ]


def _numbered(lines: Sequence[int]) -> str:
    shown = ", ".join(map(str, lines[:_SHOWN]))
    more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return f"line{'s' if len(lines) > 1 else ''} {shown}{more}"


def alike_problems(field: str, where: str, names: Iterable[str]) -> list[str]:
    """One line that names classes which are probably one, such as `1` and `1.0`; [] where there are none.

    field: that the line begins with. where: of the classes.
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(_plain(name), []).append(name)
    doubtful = [own for own in groups.values() if len(own) > 1 and not _letters(own)]
    if not doubtful:
        return []
    shown = ", ".join(" and ".join(map(_shown, own)) for own in doubtful[:_SHOWN])
    more = f" and {count_of(len(doubtful) - _SHOWN, 'other')}" if len(doubtful) > _SHOWN else ""
    return [
        f"{field}: {where} has classes that are probably one: {shown}{more}; give them one name; if they are several, "
        f"{WAY_OUT}"
    ]


def _plain(name: str) -> str:
    """What names that are probably meant to be the same have in common."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    text = re.sub(r"[\s\u200b-\u200d\u2060\ufeff]+", " ", text).strip()
    if len(text) <= _LONGEST_NUMBER and text.isascii() and _NUMBER.fullmatch(text):
        return str(Fraction(text))  # exactly: numbers of 17 digits, such as those of records, are not rounded together
    return re.sub(r"[ _-]+", " ", text).strip() or text


def _letters(names: Sequence[str]) -> bool:
    """Whether these are the small and the large form of one letter, as in data of handwriting."""
    return all(len(name) == 1 and name.isalpha() for name in names)


def _shown(name: str) -> str:
    """A name with what cannot be seen in it."""
    text = repr(name)
    return text if unicodedata.is_normalized("NFC", name) else f"{text} (decomposed: {name!a})"
