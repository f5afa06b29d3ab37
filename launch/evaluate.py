"""Evaluates a checkpoint on its data set's test images or your own: `python launch/evaluate.py --help`."""

import sys

from semisonic.cli import evaluate

if __name__ == "__main__":
    sys.exit(evaluate(sys.argv[1:]))
