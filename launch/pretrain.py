"""Pre-trains without labels. `accelerate launch launch/pretrain.py --help` shows every field."""

import sys

from semisonic.cli import pretrain

if __name__ == "__main__":
    sys.exit(pretrain(sys.argv[1:]))
