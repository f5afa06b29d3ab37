"""`python -m semisonic COMMAND ...`; under a launcher, `torchrun --nproc_per_node 2 -m semisonic train ...`."""

from semisonic.cli import run

if __name__ == "__main__":
    run()
