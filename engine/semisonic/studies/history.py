"""The study of six methods in the order of their papers, each with the same amount of computation."""

from semisonic.studies.declaration import Factor, Study

METHODS = {"MixMatch": "mixmatch", "ReMixMatch": "remixmatch", "FlexMatch": "flexmatch", "FreeMatch": "freematch",
           "SoftMatch": "softmatch"}  # fmt: skip

STUDY = Study(
    "history",
    "What have the methods from MixMatch to SoftMatch gained, at the same amount of computation?",
    "six methods from MixMatch to SoftMatch, with as many image passes each",
    (Factor("method", "", "fixmatch", "FixMatch", METHODS, few=tuple(METHODS)),),
    notes=(
        "All runs have the image passes of FixMatch's run: images forwarded, and twice those that are forwarded with a "
        "gradient. A method that passes more images in a step has fewer steps. A ramp is a share of its own run.",
        "MixMatch and ReMixMatch were published in 2019, FixMatch in 2020, FlexMatch in 2021, FreeMatch in 2022 and "
        "SoftMatch in 2023.",
    ),
    even="fixmatch",
)
