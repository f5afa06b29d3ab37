"""`python -m semisonic COMMAND ...`; under a launcher, `torchrun --nproc_per_node 2 -m semisonic train ...`."""

import sys

from semisonic.cli import dispatch

if __name__ == "__main__":
    sys.exit(dispatch(sys.argv[1:]))
