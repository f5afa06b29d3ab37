"""The study of the average: whether evaluating it, its decay and start-up, and learning from it change the error."""

from pathlib import Path

from semisonic.studies.declaration import Factor, Study, raw

MIX, FIX, MEAN = "mixmatch", "fixmatch", "mean-teacher"
DECAY, START, GUESS = "decay of the average", "start-up of the average", "guessing network"
SLOW, NONE = "ema.decay=0.999", "ema.start_up=none"
AVERAGE, ITSELF = "the average", "the network itself"


def evaluated(method: str, entry: str) -> Factor:
    """The average against the network, of the same runs."""
    return Factor("evaluated network", method, entry, AVERAGE, {ITSELF: raw(entry)}, few=(ITSELF,))


STUDY = Study(
    "ema",
    "What does the moving average of the weights change?",
    "the moving average of the weights: evaluated, as a teacher, its decay and start-up",
    (
        evaluated("MixMatch", MIX),
        evaluated("FixMatch", FIX),
        evaluated("Mean Teacher", MEAN),
        Factor(DECAY, "FixMatch", FIX, "0.99", {"0.9": f"{FIX}:ema.decay=0.9", "0.999": f"{FIX}:{SLOW}"},
               note="With the start-up tf the decay is at most 0.978 at step 400, so that 0.99 and 0.999 are the same "
               "in a run of 400 steps."),
        Factor(DECAY, "Mean Teacher", MEAN, "0.99", {"0.9": f"{MEAN}:ema.decay=0.9"}),
        Factor(START, "FixMatch", FIX, "tf", {"mean_teacher": f"{FIX}:ema.start_up=mean_teacher",
                                              "none": f"{FIX}:{NONE}"}, few=("none",)),
        Factor(f"{START} at a decay of 0.999", "FixMatch", f"{FIX}:{SLOW}", "tf", {"none": f"{FIX}:{SLOW}:{NONE}"}),
        Factor(START, "Mean Teacher", MEAN, "tf", {"none": f"{MEAN}:{NONE}"}),
        Factor(GUESS, "MixMatch", MIX, ITSELF, {AVERAGE: "taught-mixmatch"}),
        Factor(GUESS, "FixMatch", FIX, ITSELF, {AVERAGE: "taught-fixmatch"}),
        Factor(GUESS, "Mean Teacher", raw(MEAN), AVERAGE, {ITSELF: raw(f"{MEAN}:ema.decay=0")}, few=(ITSELF,),
               note="Without an average there is none to evaluate, so both are errors of the network itself."),
    ),
    notes=(
        "The recipe of these data has a decay of 0.99, since a run is short. The papers' long runs have 0.999.",
        "A start-up limits the decay at update t: tf to (1+t)/(10+t), mean_teacher to t/(t+1), none does not.",
        "An average that guesses sees the network's batch, in training mode. It moves no running statistics.",
    ),
    plugin=Path(__file__).with_name("taught_plugin.py"),
)  # fmt: skip
