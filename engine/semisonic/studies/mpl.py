"""The study of Meta Pseudo Labels: what the student's progress adds to UDA, which labels teach it, and finetuning."""

from semisonic.studies.declaration import Factor, Study

UDA, MPL = "uda", "mpl"
PLAIN, REDUCED = f"{MPL}:variant=plain", f"{MPL}:variant=reduced:predictions={UDA}"


def finetuned(entry: str) -> str:
    """The entry of 1,000 further steps on the labels alone, from the average of another entry's run."""
    return f"supervised:init={entry}:optim.lr=1e-5:optim.weight_decay=0:optim.schedule=constant:steps=1000"


STUDY = Study(
    "mpl",
    "What do Meta Pseudo Labels add to UDA, and which parts of them?",
    "Meta Pseudo Labels against UDA: variants, sampled labels, finetuning",
    (
        Factor("method", "", UDA, "UDA alone",
               {"Meta Pseudo Labels with UDA": MPL, "Meta Pseudo Labels alone": PLAIN, "reduced": REDUCED}),
        Factor("teacher", "Meta Pseudo Labels", MPL, "with UDA", {"by progress alone": PLAIN, "reduced": REDUCED}),
        Factor("pseudo-labels", "Meta Pseudo Labels", MPL, "the most probable class",
               {"sampled": f"{MPL}:labels=sampled"}),
        Factor("finetuning", "Meta Pseudo Labels", MPL, "none", {"1,000 steps": finetuned(MPL)}),
        Factor("finetuning", "UDA", UDA, "none", {"1,000 steps": finetuned(UDA)}),
        Factor("method, after finetuning", "", finetuned(UDA), "UDA alone",
               {"Meta Pseudo Labels with UDA": finetuned(MPL)}),
    ),
    notes=(
        "Reduced: a small network adjusts stored predictions and takes the teacher's place. They are those of the run "
        "of UDA with the same labels and seed, on the same network and not on a larger one.",
        "Finetuning goes on from the average of a finished run, on the labels alone, with SGD at a constant rate of "
        "1e-5 and no weight decay.",
        "The cost of a run that starts from another one is that of both. The predictions on the pool are one forward "
        "of each of its images, which is not counted.",
    ),
    fields=("--frozen=off",),  # baselines on the features of the weights that a run starts from are another question
)  # fmt: skip
