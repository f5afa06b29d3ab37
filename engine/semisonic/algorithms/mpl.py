"""Meta Pseudo Labels: a teacher that learns from its student's progress (Pham et al. 2020, arXiv 2003.10580).

    y_u    = argmax T(strong(u)), or drawn from softmax(T(strong(u)))       the teacher T's pseudo-labels
    S     <- S - lr grad mean_U H(y_u, S(strong(u)))                 a step of the student S on them
    h      = L_old - L_new,  L = mean_B H(y, S(weak(x)))             before and after it: > 0 where the labels helped
    L_MPL  = h mean_U H(y_u, T(strong(u)))                           reinforces labels that helped
    L_sup  = mean_B H(y, T(weak(x)))
    L_UDA  = r(t) mean_U 1[max q >= threshold] H(q, T(strong(u))),   q = softmax(T(weak(u)) / temperature)
    T     <- T - lr grad (L_sup + weight L_UDA + L_MPL),             r(t) = min(1, (t+1) / uda_steps)

Where labels are drawn (`labels=sampled`, the paper's derivation), the expectation of grad L_MPL is exactly the gradient
of the expected L_new by the teacher, divided by the number of unlabeled images of all ranks, as L_MPL is a mean over
them; any L_old that does not depend on the labels leaves it so, and this one makes h small: h = lr grad L(S') . grad
L_u(S) to first order. The most probable label, the default, is no draw: it has no such expectation, and the step is a
heuristic with the same sign. So h is old minus new, and both networks use the same hard labels: with soft ones of the
teacher itself, grad L_MPL would vanish. Both L are means over all ranks on the labeled images alone, without dropout or
other random numbers, so that a student that does not move gives h = 0. Labels are smoothed in the student's loss and
L_sup.
Variants: "uda" as above; "plain" without L_sup and L_UDA; "reduced", where a small network on stored predictions of a
large, trained teacher takes the teacher's place, without both as well.

`network`, and so its EMA, is the student. One forward of each network a step tracks BatchNorm: the teacher's on all its
views, the student's on [weak(x), strong(u)]. Micro-batches: the labels come from a forward of their own.
Shape suffixes: B labeled batch, U unlabeled batch, C classes.
"""

from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms.base import Algorithm, RoleModule
from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics
from semisonic.algorithms.predictions import Calibration, read_predictions
from semisonic.algorithms.ramps import linear_ramp
from semisonic.algorithms.row_keys import phase
from semisonic.algorithms.settings import Changes, Setting
from semisonic.contract import Batch, Engine, Info, Runner, Seen, StepOutput, Views, merge
from semisonic.models.randomness import Dropout, without_draws
from semisonic.schema import LARGEST_RATE, Config, Effect, UsedWith, UserError, UserPath
from semisonic_kernels.losses import consistency_loss, pseudo_labels, soft_labels

UDA_STEPS, WAIT, WARM_UP = 60, 100, 60
"""Which part of the run the fields of these names are by default: a sixtieth, a hundredth."""


def steps_of(given: int | None, part: int, steps: int) -> int:
    """A field, or its default in a run of so many steps."""
    return steps // part if given is None else given


BY_UDA = UsedWith("variant", ("uda",))


class MPLConfig(Config):
    """The defaults are those of the public CIFAR-10 command line with 4000 labels, of 300,000 steps."""

    name: Literal["mpl"] = "mpl"
    variant: Literal["uda", "plain", "reduced"] = "uda"
    """uda = the teacher also learns from the labels and by UDA; plain = from the student's progress alone; reduced = a
    small network on stored `predictions` in place of the teacher."""
    labels: Literal["argmax", "sampled"] = "argmax"
    """The teacher's pseudo-labels: its most probable class, as in public implementations, or one drawn from its
    prediction, as the paper derives it."""
    predictions: Annotated[UserPath | None, Effect.CONTENT] = None
    """reduced: a large teacher's probabilities on this run's pool, from predict.py --pool (.npy or .safetensors)."""
    label_smoothing: float = Field(0.15, ge=0, lt=1)
    """s in y <- (1-s) y + s/C; in the student's loss on pseudo-labels and in the teacher's on labels."""
    threshold: Annotated[float, BY_UDA] = Field(0.6, ge=0, le=2)
    """UDA: confidence, after the temperature, from which an unlabeled image counts."""
    temperature: Annotated[float, BY_UDA] = Field(0.7, gt=0, le=100)
    """UDA: sharpens the targets."""
    uda_weight: Annotated[float, BY_UDA] = Field(8.0, ge=0, le=1e6)
    """UDA: weight of the teacher's unlabeled loss."""
    uda_steps: Annotated[int | None, BY_UDA] = Field(None, ge=0, le=10**9)
    """UDA: steps over which the weight rises from 0; default: a sixtieth of all, 5,000 of 300,000."""
    baseline: float = Field(0.0, ge=0, le=1)
    """Rate of a running mean of h that is taken off it; 0 = none. The authors' code has 0.01."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Before the head of both networks, in the forwards that they learn from."""
    wait: int | None = Field(None, ge=0, le=10**9)
    """Steps before the student begins to learn; default: a hundredth of all, 3,000 of 300,000."""
    warm_up: int | None = Field(None, ge=0, le=10**9)
    """The student's steps of linear warm-up after that; default: a sixtieth of all, 5,000 of 300,000."""
    teacher_warm_up: int | None = Field(None, ge=0, le=10**9)
    """The teacher's steps of linear warm-up, from its first one; default: as many as the student's; 0 leaves it
    `optim.warm_up`."""
    teacher_lr: float | None = Field(None, gt=0, le=LARGEST_RATE)
    """The teacher's peak learning rate; default: `optim.lr`, which is the student's."""
    teacher_weight_decay: float | None = Field(None, ge=0, le=100)
    """The teacher's; default: `optim.weight_decay`."""
    weak: str = "weak"
    """Augmentation of the labeled images and of the views that give UDA's targets."""
    strong: str = "mpl"
    """Augmentation of the views that get pseudo-labels; the default is that of the public CIFAR-10 command line."""


class Lesson(NamedTuple):
    """What the teacher's forward on a micro-batch gives."""

    labels: Tensor
    """Pseudo-labels [U]."""
    loss: Tensor
    """Of the teacher by itself."""
    response: Tensor
    """mean_U H(labels, T(strong(u))), to be weighted by h."""
    metrics: dict[str, Tensor]


class MPL(Algorithm):
    Config = MPLConfig
    cfg: MPLConfig
    roles = ("student", "teacher")
    open_to = ("labeled_weights",)
    baseline: Tensor
    table: Tensor

    @classmethod
    def views(cls, cfg: MPLConfig) -> Views:
        weak = {"weak": cfg.weak} if cfg.variant == "uda" else {}
        draws = {"label": 1} if cfg.labels == "sampled" else {}
        return Views(labeled={"weak": cfg.weak}, unlabeled={**weak, "strong": cfg.strong}, draws=draws)

    @classmethod
    def problems(cls, cfg: MPLConfig, labeled: int, unlabeled: int) -> list[str]:
        if (cfg.variant == "reduced") == (cfg.predictions is not None):
            return []
        return ["algorithm.predictions: belongs to algorithm.variant reduced, which needs it; give both or neither"]

    @classmethod
    def ramped(cls, cfg: MPLConfig, steps: int) -> float:
        """The student's wait and warm-up, the teacher's warm-up, and the weight of its UDA."""
        student = steps_of(cfg.wait, WAIT, steps) + steps_of(cfg.warm_up, WARM_UP, steps)
        teacher = steps_of(cfg.uda_steps, UDA_STEPS, steps) if cfg.variant == "uda" else 0
        return max(student, teacher, cfg.teacher_warm_up or 0)

    @classmethod
    def depends_on_steps(cls, cfg: MPLConfig) -> list[str]:
        return [name for name in ("uda_steps", "wait", "warm_up") if getattr(cfg, name) is None]

    def setup(self, info: Info) -> None:
        if self.steps_of(self.cfg.wait, WAIT) >= info.steps:
            raise UserError(f"algorithm.wait: the student would wait for all {info.steps} steps; lower it")
        if getattr(self.network.head, "rate", 0):
            raise UserError("model.dropout: would come on top of algorithm.dropout; use 0, and that instead")
        self.teacher: nn.Module
        if self.cfg.variant == "reduced":
            assert self.cfg.predictions is not None  # as `problems` demands
            self.teacher = Calibration(info.classes)
            self.register_buffer("table", read_predictions(self.cfg.predictions, info.unlabeled, info.classes))
        else:
            self.teacher = self.build()
        self.register_buffer("baseline", torch.zeros(()))
        self.dropout = Dropout(self.cfg.dropout)
        networks = {"student": self.network, "teacher": self.teacher}
        self.role_modules = {role: RoleModule(network, self.phase) for role, network in networks.items()}

    def steps_of(self, given: int | None, share: int) -> int:
        return steps_of(given, share, self.info.steps)

    def role_module(self, role: str) -> nn.Module:
        return self.role_modules[role]

    def role_optim(self, role: str, optim: Any) -> Any:
        cfg = self.cfg
        change: dict[str, float | None]
        if role == "student":
            change = {"wait": self.steps_of(cfg.wait, WAIT), "warm_up": self.steps_of(cfg.warm_up, WARM_UP)}
        else:
            warm_up = self.steps_of(cfg.warm_up, WARM_UP) if cfg.teacher_warm_up is None else cfg.teacher_warm_up
            # 0: the run's own, which is what runs did before the teacher warmed up.
            change = {"lr": cfg.teacher_lr, "weight_decay": cfg.teacher_weight_decay, "warm_up": warm_up or None}
        return optim.model_copy(update={name: value for name, value in change.items() if value is not None})

    def train_step(self, batch: Batch, run: Runner) -> StepOutput:
        student, teacher, micros = run["student"], run["teacher"], run.micro_batches(batch)
        count = len(micros)
        if count == 1:  # the forward that gives the labels waits for its backward
            lessons = [teacher("teach", batch, None)]
            labels = [lessons[0].labels]
        else:
            with torch.no_grad():
                labels = [teacher("label", micro) for micro in micros]
        old, studied = self.judged(student, micros), []
        for k, micro in enumerate(micros):
            with student.accumulate(last=k == count - 1):
                studied.append(student("study", micro, labels[k]))
                student.backward(studied[k][0] / count)
        student.step()
        progress = run.mean(old - self.judged(student, micros))
        outputs = []
        for k, micro in enumerate(micros):
            with teacher.accumulate(last=k == count - 1):
                lesson = lessons[k] if count == 1 else teacher("teach", micro, labels[k])
                loss = lesson.loss + (progress - self.baseline) * lesson.response
                teacher.backward(loss / count)
            metrics = {"progress": progress, "loss_teacher": loss.detach(), **lesson.metrics, **studied[k][1]}
            outputs.append(StepOutput((studied[k][0] + loss).detach(), metrics, {"progress": progress}))
        teacher.step()
        return merge(outputs)

    def judged(self, student: Engine, micros: list[Batch]) -> Tensor:
        """L of the student as it is, on this rank's labeled images."""
        with torch.no_grad():
            return torch.stack([student("judge", micro) for micro in micros]).mean()

    def update(self, observed: dict[str, Tensor]) -> None:
        self.baseline.lerp_(observed["progress"], self.cfg.baseline)

    # What the two roles do in a step; each is a graph of its own when compiled.

    def phase(self, name: str, batch: Batch, *args: Any) -> Any:
        # A forward for the labels alone draws what the one that learns will, so that they are its own labels.
        with phase("teach" if name == "label" else name, batch):
            return getattr(self, name)(batch, *args)

    def judge(self, batch: Batch) -> Tensor:
        with without_draws():
            (logits_BC,) = self.classify(batch.x["weak"], track=False)
        return self.label_loss(logits_BC, batch)

    def label_loss(self, logits_BC: Tensor, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Mean weighted cross-entropy of the labeled images, 0-d: what the teacher learns from, and what its labels
        are to lower of the student."""
        return self.labeled_loss(Seen(logits_BC, logits_BC), batch.y, label_smoothing, batch.x_index)

    def study(self, batch: Batch, label_U: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits_BC, strong_UC = self.learn("network", batch.x["weak"], batch.u["strong"])
        loss = F.cross_entropy(strong_UC, label_U, label_smoothing=self.cfg.label_smoothing)
        return loss, loss_metrics(self.label_loss(logits_BC, batch), loss, logits_BC, batch.y)

    def label(self, batch: Batch) -> Tensor:
        return self.labels_of(self.taught(batch, track=False)["strong"], batch)

    @torch.no_grad()
    def labels_of(self, strong_UC: Tensor, batch: Batch) -> Tensor:
        """Pseudo-labels [U] of the teacher's logits [U, C]; the same whichever forward the logits are of."""
        if self.cfg.labels == "argmax":
            return strong_UC.argmax(-1)
        return drawn(strong_UC.softmax(-1), batch.draws["label"][:, 0])

    def teach(self, batch: Batch, label_U: Tensor | None) -> Lesson:
        """label_U: the labels that the student learns; None takes those of this forward."""
        cfg, logits = self.cfg, self.taught(batch)
        strong_UC = logits["strong"]
        label_U = self.labels_of(strong_UC, batch) if label_U is None else label_U
        metrics = pseudo_label_metrics(label_U, torch.ones_like(label_U), batch.u_true, self.info.classes)
        loss = torch.zeros_like(strong_UC[0, 0])
        if cfg.variant == "uda":
            mask_U = pseudo_labels(logits["weak"], cfg.threshold, cfg.temperature).mask
            labeled = self.label_loss(logits["x"], batch, cfg.label_smoothing)
            uda = consistency_loss(strong_UC, soft_labels(logits["weak"], cfg.temperature), mask_U)
            ramp = linear_ramp(self.step + 1, self.steps_of(cfg.uda_steps, UDA_STEPS))
            loss = labeled + cfg.uda_weight * ramp * uda
            metrics |= {"loss_teacher_labeled": labeled, "loss_uda": uda, "uda_coverage": mask_U.mean()}
        response = F.cross_entropy(strong_UC, label_U)
        return Lesson(label_U, loss, response, {name: value.detach() for name, value in metrics.items()})

    def taught(self, batch: Batch, track: bool = True) -> dict[str, Tensor]:
        """The teacher's logits: "strong" [U, C], and with UDA "x" [B, C] and "weak" [U, C]."""
        if self.cfg.variant == "reduced":
            return {"strong": self.teacher(self.table[batch.u_index])}
        views = {"strong": batch.u["strong"]}
        if self.cfg.variant == "uda":
            views = {"x": batch.x["weak"], "weak": batch.u["weak"], **views}
        return dict(zip(views, self.learn("teacher", *views.values(), track=track), strict=True))

    def learn(self, module: str, *views: Tensor, track: bool = True) -> tuple[Tensor, ...]:
        """Logits of one forward over all views, with dropout before the head."""
        sizes = [len(view) for view in views]
        features = torch.cat(self.features(*views, module=module, track=track))
        logits = self.head(self._run(self.dropout, features, rows=sizes), f"{module}.head", rows=sizes)
        return torch.split(logits, sizes)

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """Meta Pseudo Labels with UDA: 300,000 steps of 128 + 896 images, SGD 0.05 for both networks, EMA 0.995.

        The student waits 3,000 steps and warms up over 5,000, as the teacher does at once; other numbers of steps keep
        these shares.
        Cost: 3.1 a step, 0.9 of FixMatch's run. Error, of the public CIFAR-10 command line with its view
        `mpl`: CIFAR-10 3.99 (4,000), 3.92 after finetuning; in that code h is new minus old, and the weak view's labels
        teach the student. The paper's 3.89 +- 0.07 and SVHN's 1.99 +- 0.07 (1,000, with the extra images) are of the
        authors' own code and view.
        """
        if not setting.paper:
            # Short runs: labels worth learning first, and a weight that the teacher survives.
            own = {"uda_weight": 1.0, "uda_steps": setting.steps // 2, "threshold": 0.8, "strong": "fixmatch"}
            return {"algorithm": own, "optim": {"schedule": "cosine"}}
        return {
            "steps": 300_000,
            "batch": {"labeled": 128, "unlabeled_ratio": 7},
            "optim": {"name": "sgd", "lr": 0.05, "schedule": "cosine"},
            "ema": {"decay": 0.995},
        }


def drawn(p_UC: Tensor, uniform_U: Tensor) -> Tensor:
    """A class of each sample [U], drawn from its probabilities [U, C] by a number in [0, 1): the first one below whose
    cumulated probability the number lies. Never one of probability 0."""
    edges_UC = p_UC.cumsum(-1)
    # Of the sum as it was rounded, so that a number just below 1 is below the last edge.
    return (edges_UC <= (uniform_U.to(p_UC.dtype) * edges_UC[:, -1])[:, None]).sum(-1)
