"""Names in users' folders and files that may be spelled in several ways, American first. Two at once are a mistake.

Only here the spellings stand side by side; everything else knows the first. (The columns of CSV files have one each.)
"""

import re
from collections.abc import Collection
from enum import StrEnum

LABELED_FOLDERS = ("labeled", "labelled", "train", "training")
"""Of labelled images, a folder a class below it."""
UNLABELED_FOLDERS = ("unlabeled", "unlabelled")
TEST_FOLDERS = ("test", "testing")
VALIDATION_FOLDERS = ("val", "valid", "validation")
POOL_FOLDERS = ("pool", "extra", "unsupervised", "unsup", "unannotated")
"""Of unlabeled images beside a folder of labeled ones; alone, they may be classes."""
_FILLERS = frozenset(("set", "data", "image", "images", "img", "imgs", "folder", "split"))


class Role(StrEnum):
    """What a folder at the top of the data is for."""

    LABELED = "labeled"
    UNLABELED = "unlabeled"
    POOL = "pool"
    """Unlabeled, where another folder is the labeled one."""
    TEST = "test"
    VALIDATION = "val"


_ROLES = {
    name: role
    for role, names in (
        (Role.LABELED, LABELED_FOLDERS), (Role.UNLABELED, UNLABELED_FOLDERS), (Role.POOL, POOL_FOLDERS),
        (Role.TEST, TEST_FOLDERS), (Role.VALIDATION, VALIDATION_FOLDERS),
    )
    for name in names
}  # fmt: skip
PLAIN = frozenset((*LABELED_FOLDERS[:3], *UNLABELED_FOLDERS, TEST_FOLDERS[0], VALIDATION_FOLDERS[0]))
"""Names that are what they say; of others that are understood, the user is told how."""


def role_of(folder: str) -> Role | None:
    """What a folder of this name is for, in any case and with words such as `set` or `images`; None for a class."""
    words = [word for word in re.split(r"[-_. ]+", folder.casefold()) if word]
    words = [word for word in words if word not in _FILLERS] if len(words) > 1 else words
    return _ROLES.get(re.sub(r"(set|data)$", "", words[0])) if len(words) == 1 else None


ARRAYS = (("labeled", "labelled"), ("unlabeled", "unlabelled"), ("held_out",))
"""Of an .npz with a split, in the order of `Split`."""
LABELED, UNLABELED, HELD_OUT = (names[0] for names in ARRAYS)
SAVED_ARRAYS = ("labelled", "unlabelled", "held_out")
"""As they are written, and as they go into the split's hash: the hash is in every checkpoint, and must never change,
and a split.npz stays one that earlier versions read."""


def find_arrays(present: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """The arrays of a split among the names in a file, first spelling -> its own; and those that it has twice, a line
    each."""
    found, problems = {}, []
    for names in ARRAYS:
        spelled = [name for name in names if name in present]
        if len(spelled) > 1:
            problems.append(f"has both arrays {' and '.join(spelled)}; keep one of them")
        elif spelled:
            found[names[0]] = spelled[0]
    return found, problems
