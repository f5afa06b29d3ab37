"""Names in users' folders and files that may be spelled in two ways, American first. Both at once are a mistake.

Only here both spellings stand side by side; everything else knows the first. (The columns of CSV files have one each.)
"""

from collections.abc import Collection

LABELED_FOLDERS = ("labeled", "labelled", "train")
"""Of labelled images, a folder a class below it."""
UNLABELED_FOLDERS = ("unlabeled", "unlabelled")

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
