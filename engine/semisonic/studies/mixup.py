"""The study of mixing: fixed shares against random ones, and what the weak augmentation does."""

from semisonic.studies.declaration import Factor, Study

MIX = "mixmatch"

STUDY = Study(
    "mixup",
    "Does MixMatch need random mixing shares, and which weak augmentation helps it?",
    "MixMatch's mixing shares, fixed or random, and the parts of a weak augmentation",
    (
        Factor("mixing share", "MixMatch", MIX, "Beta(0.75, 0.75)",
               {str(share): f"{MIX}:lam={share}" for share in (0.5, 0.6, 0.7, 0.8, 0.9)},
               note="An image counts at least half in its own mixture, so that 0.1 and 0.9 are the same share, and 0.5 "
               "is the least. A share of Beta(0.75, 0.75), so folded, is 0.78 in the mean."),
        Factor("weak augmentation", "MixMatch", MIX, "padded crop", {
            "nothing": f"{MIX}:weak=plain",
            "flip alone": f"{MIX}:weak=weak:data.pad=0:data.flip=true",
            "noise alone": f"{MIX}:weak=noise:data.pad=0",
        }, note="Labeled and unlabeled images have the same augmentation. The recipe of digits crops and does not "
           "flip, since a mirrored digit is another sign. Noise has a standard deviation of 0.15."),
    ),
)  # fmt: skip
