"""What every field does to a run that goes on is decided, and so is what runs did before it was there."""

import pytest

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.dump import SCHEMA
from semisonic.config.effects import effects, steps_planned_by
from semisonic.config.fields import dotted
from semisonic.config.migrations import added_since, read_saved
from semisonic.schema import Effect
from tests.fixtures.older_runs import NAMES, STORED
from tests.support.command_line import config

FREE = [
    "out",
    "baseline",
    "device",
    "compile",
    "recompute",
    "replay",
    "threads",
    "max_hours",
    "data.root",
    "data.download",
    "data.test_root",
    "data.workers",
    "data.operations",
    "data.steps_per_call",
    "batch.fit",
    "eval.batch",
    "log.every",
    "log.trackers",
    "log.collapse",
    "log.collapse_coverage",
    "checkpoint.every",
    "checkpoint.keep",
    "parallel.deepspeed",
    "parallel.gradients",
    "parallel.bucket_mb",
    "parallel.join_minutes",
    "health.heartbeat",
    "health.progress",
    "health.compare_every",
]
"""May change on --resume; plug-ins have a check of their own."""
CONTENT = ["init", "data.split", "data.csv", "model.weights"]
"""Files that go into the results."""
RESULTS = [
    "seed",
    "steps",
    "precision",
    "kernels",
    "deterministic",
    "data.name",
    "data.labels",
    "data.held_out",
    "data.split_seed",
    "data.unlabeled_includes_labeled",
    "data.size",
    "data.flip",
    "data.pad",
    "data.normalize",
    "data.svhn_extra",
    "data.test_fraction",
    "data.bad_files",
    "data.equalize",
    "batch.labeled",
    "batch.unlabeled_ratio",
    "batch.micro",
    "model.name",
    "model.dropout",
    "model.stem",
    "model.residual",
    "model.first_stride",
    "model.norm_momentum",
    "model.norm_eps",
    "model.norm_sync",
    "addons.auxiliary.rotation",
    "addons.auxiliary.rotation_view",
    "addons.auxiliary.simclr",
    "addons.auxiliary.view",
    "addons.auxiliary.temperature",
    "addons.ctaugment.lag",
    "optim.name",
    "optim.lr",
    "optim.momentum",
    "optim.nesterov",
    "optim.betas",
    "optim.weight_decay",
    "optim.decay_all",
    "optim.schedule",
    "optim.warm_up",
    "optim.wait",
    "optim.clip",
    "ema.decay",
    "ema.start_up",
    "ema.buffers",
    "eval.every",
]
ALGORITHMS_FIELDS = {
    "adamatch": "name threshold weight weak strong interpolate ramp momentum window",
    "comatch": "name threshold own_share temperature dimensions projectors window weight graph_weight graph_threshold queue weak strong",
    "dash": "name rule epoch warm_up fall_every gamma floor temperature weight weak strong",
    "defixmatch": "name threshold weight weak strong",
    "enaet": "name weight ramp temperature alpha views lam block weak slopes most consistency shift quarter_turns degrees translate scale shear enhance patch",
    "fixmatch": "name threshold weight weak strong",
    "flexmatch": "name threshold warm_up mapping weight weak strong",
    "freematch": "name threshold weight weak strong momentum quantile fairness",
    "ict": "name weight ramp shape alpha lam dominant mix_labeled targets loss block weak",
    "mean-teacher": "name weight ramp statistics weak",
    "mixmatch": "name weight ramp temperature alpha views lam block weak",
    "mpl": "name variant predictions=content label_smoothing threshold temperature uda_weight uda_steps baseline dropout wait warm_up teacher_lr teacher_weight_decay weak strong",
    "pi-model": "name weight ramp statistics weak",
    "policy-mixmatch": "name weight ramp temperature alpha views lam block weak policy threshold floor fall stage epoch_steps loss confidence rejected normalizer",
    "pseudo-label": "name threshold weight ramp statistics weak",
    "refixmatch": "name threshold thresholds temperature warm_up mapping weight weak strong",
    "remixmatch": "name temperature alpha strong_views w_m w_kl w_rot ramp window block weak strong",
    "rotnet": "name view weak",
    "shrinkmatch": "name threshold targets window shrink momentum weight weak strong",
    "simclr": "name temperature dimensions view weak",
    "simmatch": "name threshold own_share temperature dimensions projectors window weight instance_weight momentum wait weak strong",
    "softmatch": "name weight weak strong momentum width align",
    "supervised": "name view label_smoothing mix mix_alpha block",
    "temporal-ensembling": "name momentum weight ramp statistics weak",
    "uda": "name threshold temperature weight annealing weak strong",
    "vat": "name weight entropy eps xi power ramp statistics weak",
}
"""Fields of the algorithms, as each was when it came; NAME=EFFECT where another value does not make another run. What an
algorithm has got since is in `LATER`."""
LATER = {
    "addons.aum.record": (1, Effect.RESULTS),
    "data.fingerprint": (1, Effect.RESULTS),
    "model.fingerprint": (1, Effect.RESULTS),
    "model.norm_start_up": (2, Effect.RESULTS),
    "model.norm_groups": (5, Effect.RESULTS),
    "parallel.overlap": (5, Effect.FREE),
    "plugins": (1, Effect.FREE),
    "data.classes": (2, Effect.RESULTS),
    "data.duplicates": (2, Effect.RESULTS),
    "data.doubts": (2, Effect.FREE),
    "data.labels_from": (2, Effect.RESULTS),
    "data.max_file_mb": (2, Effect.FREE),
    "data.max_pixels": (2, Effect.FREE),
    "data.test": (2, Effect.RESULTS),
    "checkpoint.snapshots": (3, Effect.FREE),
    "data.absent_classes": (3, Effect.FREE),
    "data.crop_area": (3, Effect.RESULTS),
    "model.freeze": (4, Effect.RESULTS),
    "model.tune": (4, Effect.RESULTS),
    "model.lora_rank": (4, Effect.RESULTS),
    "model.lora_alpha": (4, Effect.RESULTS),
    "model.lora_layers": (4, Effect.RESULTS),
    "optim.backbone_lr": (4, Effect.RESULTS),
    "optim.layer_decay": (4, Effect.RESULTS),
    "data.crop_ratio": (4, Effect.RESULTS),
    "data.expected.crop": (4, Effect.RESULTS),
    "data.expected.interpolation": (4, Effect.RESULTS),
    "data.expected.mean": (4, Effect.RESULTS),
    "data.expected.source": (4, Effect.RESULTS),
    "data.expected.std": (4, Effect.RESULTS),
    "data.interpolation": (4, Effect.RESULTS),
    "batch.balanced": (4, Effect.RESULTS),
    "data.weight_column": (4, Effect.RESULTS),
    "loss.class_weights": (4, Effect.RESULTS),
    "data.labels_head": (4, Effect.RESULTS),
    "data.imbalance": (4, Effect.RESULTS),
    "data.unlabeled_head": (4, Effect.RESULTS),
    "data.imbalance_unlabeled": (4, Effect.RESULTS),
    "data.imbalance_order": (4, Effect.RESULTS),
    "frozen": (4, Effect.FREE),
    "model.drop_path": (4, Effect.RESULTS),
    "model.patch_size": (4, Effect.RESULTS),
    "model.pretrained": (4, Effect.RESULTS),
    "algorithm.weak_pass": (4, Effect.RESULTS),
    "addons.prior.kind": (4, Effect.RESULTS),
    "addons.prior.momentum": (4, Effect.RESULTS),
    "addons.prior.target": (4, Effect.RESULTS),
    "addons.prior.window": (4, Effect.RESULTS),
    "algorithm.ce_weight": (4, Effect.RESULTS),
    "algorithm.lam": (4, Effect.RESULTS),  # of remixmatch
    "algorithm.loss_switch": (4, Effect.RESULTS),
    "algorithm.mix_lam": (4, Effect.RESULTS),
    "algorithm.labeled_view": (4, Effect.RESULTS),
    "algorithm.labels": (4, Effect.RESULTS),
    "algorithm.labeled": (4, Effect.RESULTS),
    "algorithm.teacher_warm_up": (4, Effect.RESULTS),
    "batch.unlabeled_bend": (4, Effect.RESULTS),
    "batch.unlabeled_schedule": (4, Effect.RESULTS),
    "batch.unlabeled_stages": (4, Effect.RESULTS),
    "trial": (5, Effect.FREE),
}
"""Fields that came after version 0.1.0, with the schema that brought them. A field that is in none of these lists is
to be decided about: its effect, and what runs did before it was there, in `migrations.ADDED` for every schema below."""


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_field_s_effect_is_decided(name: str):
    decided = dict.fromkeys(FREE, Effect.FREE) | dict.fromkeys(CONTENT, Effect.CONTENT)
    decided |= dict.fromkeys(RESULTS, Effect.RESULTS)
    own = ALGORITHMS[name].Config.model_fields
    decided |= {
        field: effect
        for field, (_, effect) in LATER.items()
        if not field.startswith("algorithm.") or field.removeprefix("algorithm.") in own
    }
    for entry in ALGORITHMS_FIELDS[name].split():
        field, _, effect = entry.partition("=")
        decided[f"algorithm.{field}"] = Effect(effect or "results")
    assert effects(name) == decided


def test_the_fields_that_are_not_later_are_those_of_version_0_1_0():
    for name in NAMES:
        saved = read_saved(STORED / name)
        there = dotted(saved.fields).keys() - saved.filled.keys()
        own = {
            f"algorithm.{entry.partition('=')[0]}"
            for entry in ALGORITHMS_FIELDS[saved.fields["algorithm"]["name"]].split()
        }
        assert there == {*FREE, *CONTENT, *RESULTS, *own}


def test_what_runs_did_before_a_field_was_there_is_decided():
    assert LATER.keys() <= {field for name in ALGORITHMS for field in effects(name)}
    for field, (schema, _) in LATER.items():
        assert 0 < schema <= SCHEMA, field
        assert all(field in added_since(older) for older in range(schema)), field


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], ["optim.schedule"]),
        (["--optim.schedule", "cosine"], ["optim.schedule"]),
        (["--optim.schedule", "constant", "--optim.warm-up", "5", "--optim.wait", "5"], []),
        (["--algorithm", "mean-teacher"], ["algorithm.ramp"]),
        (["--algorithm", "mean-teacher", "--algorithm.ramp", "1"], ["algorithm.ramp"]),
        (["--algorithm", "mean-teacher", "--algorithm.ramp", "0"], []),
        (["--algorithm", "mean-teacher", "--algorithm.ramp", "40"], []),
        (["--algorithm", "uda"], []),
        (["--batch.unlabeled-schedule", "growing"], ["batch.unlabeled_schedule"]),
        (["--algorithm", "uda", "--algorithm.annealing", "exp"], ["algorithm.annealing"]),
        (["--algorithm", "dash", "--algorithm.epoch", "0.01"], ["algorithm.epoch"]),
        (["--algorithm", "dash", "--algorithm.epoch", "40"], []),
        (["--algorithm", "mpl", "--algorithm.uda-steps", "null"], ["algorithm.uda_steps", "algorithm.wait", "algorithm.warm_up"]),
        (["--algorithm", "mpl", "--algorithm.wait", "1", "--algorithm.warm-up", "1", "--algorithm.uda-steps", "1"], []),
        (["--algorithm", "enaet"], ["algorithm.slopes"]),
        (["--algorithm", "policy-mixmatch", "--algorithm.policy", "mixed", "--algorithm.ramp", "null"], ["algorithm.ramp"]),
        (["--algorithm", "policy-mixmatch", "--algorithm.policy", "manual", "--algorithm.ramp", "0"], ["algorithm.fall"]),
        (["--algorithm", "policy-mixmatch", "--algorithm.policy", "fixed", "--algorithm.ramp", "null"], []),
    ],
)  # fmt: skip
def test_fields_by_which_a_step_depends_on_the_number_of_steps(fields: list[str], expected: list[str]):
    plain = [] if "optim.schedule" in expected or "--optim.schedule" in fields else ["--optim.schedule", "constant"]
    assert list(steps_planned_by(config(*fields, *plain, "--no-baseline"))) == expected
