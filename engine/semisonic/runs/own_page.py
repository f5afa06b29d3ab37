"""The page of a run at its end: after its last checkpoint and its summary, and of no effect on how it ends."""

from semisonic.reporting.reporters import Reporters
from semisonic.run_page.facts import Seen, facts_of
from semisonic.run_page.page import FILE, write
from semisonic.training.trainer import Trainer


def write_own_page(trainer: Trainer) -> None:
    """Writes report.html of a finished run from what its last evaluation saw; one line where it cannot be made."""

    def make() -> None:
        trainer.checkpoint_writer.check()  # nothing is written into a folder that is not the run's any more
        which = trainer.evaluated[0] if trainer.evaluated else None
        seen = Seen(which, trainer.step, trainer.confusion, trainer.mistakes, trainer.data)
        write(facts_of(trainer.run_folder, trainer.cfg), seen)

    Reporters().attempt_again(FILE, None, make)
