"""Trains. `accelerate launch launch/train.py --help` shows every field."""

import sys

from semisonic.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
