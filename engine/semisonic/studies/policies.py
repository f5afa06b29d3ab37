"""The study of threshold policies on MixMatch, of its unlabeled loss, and of two proposals."""

from semisonic.studies.declaration import Factor, Study

BASE, METHOD = "policy-mixmatch", "MixMatch"
SQUARED = "squared error at 150"

STUDY = Study(
    "policies",
    "Which threshold policy and which unlabeled loss suit MixMatch?",
    "threshold policies, unlabeled losses and growing strength on MixMatch",
    (
        Factor("threshold policy", METHOD, BASE, "percentile-train", {
            "none": f"{BASE}:policy=none",
            "fixed": f"{BASE}:policy=fixed",
            "manual": f"{BASE}:policy=manual:fall=0.5",
            "percentile-held-out": f"{BASE}:policy=percentile-held-out:data.held_out=40",
            "staged": f"{BASE}:policy=staged",
            "mixed": f"{BASE}:policy=mixed",
        }, few=("none", "fixed"), note="fixed has a threshold of 0.9, manual falls from 0.9 to 0.5 over half of the "
           "run, and percentile-held-out spends 40 further labels. none and mixed ramp the unlabeled weight up."),
        Factor("unlabeled loss and its weight", METHOD, BASE, SQUARED, {
            "squared error at 1500": f"{BASE}:weight=1500",
            "cross-entropy at 1": f"{BASE}:loss=ce",
            "cross-entropy at 1.5": f"{BASE}:loss=ce:weight=1.5",
            "cross-entropy at 2": f"{BASE}:loss=ce:weight=2",
        }, few=("cross-entropy at 1",), note="The policy is percentile-train. A squared error is a mean over the "
           "classes."),
        Factor("change of the unlabeled loss at half of the run", METHOD, BASE, SQUARED, {
            "cross-entropy at 1 from there on": f"{BASE}:loss=mse-to-ce",
        }, few=("cross-entropy at 1 from there on",)),
        Factor("strength of the augmentation", METHOD, BASE, "padded crop", {
            "RandAugment(2, 0 to 9)": f"{BASE}:weak=randaugment(2,0..9)",
        }, note="The proposal is RandAugment(2, min(9, epoch/10)) in 300 epochs. Here its magnitude grows from 0 to 9 "
           "over the whole run. All views have it, the labeled ones too."),
    ),
)  # fmt: skip
