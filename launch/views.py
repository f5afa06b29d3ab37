"""Writes a picture of each augmentation: `python launch/views.py --data digits --out views`."""

import sys

from semisonic.cli import views

if __name__ == "__main__":
    sys.exit(views(sys.argv[1:]))
