"""Run by a test on each of several ranks: some steps of a project, one after the other, on parts of a few images.

daily_steps.py PROJECT STEP ...
"""

import sys

from semisonic.cli import daily
from semisonic.daily.passes import work

if __name__ == "__main__":
    work.rows_of_part = lambda images: 5
    project, *steps = sys.argv[1:]
    sys.exit(next((code for code in (daily([project, step]) for step in steps) if code), 0))
