"""The study of interleaving: how MixMatch's mixed images go through the network, at two learning rates."""

from pathlib import Path

from semisonic.studies.declaration import Factor, Study

MIX = "mixmatch"
LARGER = "optim.lr=0.003464"
"""The square root of 3 times the rate of `STUDY`."""
WAYS = {"interleaved": "interleaved sub-batches", "separate": "one forward a view", "ranks": "own rows of 2 ranks"}
"""Those of `mixmatch-forwards`, and what the page calls them."""
JOINED = "one batch"


def apart(way: str, *fields: str) -> str:
    """The entry of a way to forward the mixed images."""
    return ":".join([f"{MIX}-forwards:forwards={way}", *fields])


def forwards(where: str, *fields: str, few: tuple[str, ...] = ()) -> Factor:
    """All ways at one learning rate."""
    others = {name: apart(way, *fields) for way, name in WAYS.items()}
    return Factor(
        f"forward of the mixed images, {where}", "MixMatch", ":".join([MIX, *fields]), JOINED, others, few=few
    )


def rates(name: str, entry: str, few: tuple[str, ...] | None = None) -> Factor:
    """Both learning rates of one way."""
    return Factor(f"learning rate, {name}", "MixMatch", entry, "0.002", {"0.00346": f"{entry}:{LARGER}"}, few=few)


STUDY = Study(
    "interleave",
    "Does MixMatch need interleaved sub-batches, and does one batch need a larger learning rate?",
    "MixMatch's mixed images in one batch, interleaved, separate, or on two ranks, at two learning rates",
    (
        forwards("learning rate 0.002", few=(WAYS["interleaved"], WAYS["separate"])),
        forwards("learning rate 0.00346", LARGER),
        rates(JOINED, MIX, few=("0.00346",)),
        *(rates(name, apart(way)) for way, name in WAYS.items()),
        Factor("interleaved sub-batches against one batch with the larger rate", "MixMatch", apart("interleaved"),
               f"{WAYS['interleaved']}, 0.002", {f"{JOINED}, 0.00346": f"{MIX}:{LARGER}"},
               few=(f"{JOINED}, 0.00346",)),
    ),
    notes=(
        "A step has as many unlabeled images as labeled ones, since groups of different sizes cannot be interleaved. "
        "Adam has the paper's rate of 0.002. The larger rate is the square root of 3 times it, for 3 groups.",
        "Interleaved as in the authors' code: each of 3 sub-batches has a share of other groups. They are forwarded "
        "one after the other. The first one alone moves the running statistics.",
        "One forward a view: the labeled images alone move the running statistics.",
        "Own rows of 2 ranks: BatchNorm of each rank's own images. One process forwards them apart. Losses, gradients "
        "and weights are those of a run on 2 ranks without SyncBatchNorm, to 1e-10. All test images are evaluated by "
        "the running statistics of the first rank. With SyncBatchNorm, 2 ranks are the run in one batch.",
        "With fixed statistics of BatchNorm all ways have the same loss and the same gradient.",
    ),
    plugin=Path(__file__).with_name("forwards_plugin.py"),
    fields=(
        "--batch.unlabeled_ratio=1", "--optim=adamw", "--optim.lr=0.002", "--optim.weight_decay=0.02",
        "--optim.schedule=constant",
    ),
)  # fmt: skip
