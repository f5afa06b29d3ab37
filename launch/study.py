"""Answers a question by many runs: `python launch/study.py labels --data digits --counts 1,2,4`."""

import sys

from semisonic.cli import study

if __name__ == "__main__":
    sys.exit(study(sys.argv[1:]))
