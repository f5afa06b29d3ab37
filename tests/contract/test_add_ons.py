"""What algorithms open to add-ons they must use, and what they say they see they must report; with and without ranks."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from semisonic.addons.registry import ADD_ONS
from semisonic.algorithms.add_on import CHANGES, AddOn, Base, Term
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.command_line import resolve
from semisonic.contract import Batch, OwnStream, Seen, StepOutput, Views
from semisonic.schema import Config, UserError
from tests.support.addons import composed, composition, registered
from tests.support.algorithms import batch_for
from tests.support.runner import Runner
from tests.support.throw_away import THROW_AWAY, Once, Weighted

ONE_NETWORK = {name: kind for name, kind in ALGORITHMS.items() if kind.roles == ("network",)}
each = pytest.mark.parametrize("kind", ONE_NETWORK.values(), ids=ONE_NETWORK)
WITH: dict[str, dict[str, Any]] = {
    "auxiliary": {"rotation": 1.0, "simclr": 1.0},
    "ctaugment": {"lag": 2},
    "aum": {"record": "on"},
    "prior": {"kind": "align", "window": 3},
    **{key: {"weight": 1.0} for key in THROW_AWAY},
}
added = pytest.mark.parametrize("name", WITH)


def fixmatch(name: str, threshold: float = 0.26) -> Algorithm:
    fields = {"threshold": threshold, "strong": "ctaugment" if name == "ctaugment" else "fixmatch"}
    return composed(ALGORITHMS["fixmatch"], fields, **{name: WITH[name]})


@pytest.fixture(autouse=True)
def throw_away():
    with registered(**THROW_AWAY):
        yield


def test_every_add_on_is_tried_here():
    assert set(ADD_ONS) == set(WITH)


class Spy(Once):
    """Takes note of what it is asked for, and what the algorithm has seen."""

    asked: set[str]
    seen: dict[str, Seen]

    def labeled_logits(self, logits_BC: Tensor, seen: Seen) -> Tensor:
        return self.noted("labeled_logits", logits_BC, seen)

    def guessed_logits(self, logits_UC: Tensor, seen: Seen) -> Tensor:
        return self.noted("guessed_logits", logits_UC, seen)

    def trained_logits(self, logits_UC: Tensor, seen: Seen) -> Tensor:
        return self.noted("trained_logits", logits_UC, seen)

    def noted(self, what: str, logits: Tensor, seen: Seen) -> Tensor:
        self.asked.add(what)
        head = self.network.head  # of the features, which must be those that the logits were made of
        assert torch.equal(seen.logits, logits)
        torch.testing.assert_close(head(seen.features), seen.logits)
        return logits

    def labeled_weights(self, weights_B: Tensor, label_B: Tensor) -> Tensor:
        self.asked.add("labeled_weights")
        assert weights_B.shape == label_B.shape and (weights_B == 1).all()
        return weights_B

    def mask(self, guess: Any) -> Tensor:
        self.asked.add("mask")
        return guess.mask

    def targets(self, guess: Any) -> Tensor:
        self.asked.add("targets")
        return guess.targets

    def setup(self, algorithm: Any, info: Any) -> None:
        self.asked, self.seen = set(), {}
        object.__setattr__(self, "network", algorithm.network)

    def term(self, algorithm: Any, batch: Batch, output: StepOutput) -> Term:
        self.seen = dict(output.seen)
        return Term()


@each
def test_an_algorithm_asks_for_all_that_it_is_open_to_and_reports_all_that_it_sees(kind: type[Algorithm]):
    made = composed(kind)
    spy = Spy(Weighted(weight=1), Base(kind, made.cfg, kind.views(made.cfg)))
    spy.setup(made, made.info)
    made.addons["spy"] = spy
    made._changing = dict.fromkeys(CHANGES, ("spy",))
    before = composed(kind)
    if kind.__name__ in ("ICT",):
        spy.network = made.ema  # its guesses are the average's; the others' features are compared below as well
        spy.noted = lambda what, logits, seen: (spy.asked.add(what), logits)[1]
    batch = batch_for(before)
    found, plain = made(batch), before(batch)
    assert spy.asked == set(kind.open_to)
    assert set(spy.seen) == set(kind.sees(made.cfg))
    torch.testing.assert_close(found.loss, plain.loss)
    for name, seen in spy.seen.items():
        count = len(batch.y) if name == "labeled" else len(batch.u_index)
        assert len(seen.logits) == len(seen.features) == count
        torch.testing.assert_close(made.network.head(seen.features), seen.logits)
        assert seen.targets is not None and len(seen.targets) == count
        assert name != "labeled" or torch.equal(seen.targets, batch.y)


class Tripled(Once):
    """Every labeled sample counts three times."""

    def labeled_weights(self, weights_B: Tensor, label_B: Tensor) -> Tensor:
        return 3 * weights_B


@each
def test_labeled_weights_weigh_the_labeled_loss(kind: type[Algorithm]):
    with registered(tripled=Tripled):
        made, plain = composed(kind, tripled={"weight": 1.0}), composed(kind)
    batch = batch_for(plain)
    found, usual = made(batch).metrics["loss_labeled"], plain(batch).metrics["loss_labeled"]
    torch.testing.assert_close(found, 3 * usual)


@added
def test_with_weight_0_the_run_has_no_such_add_on(name: str):
    off = {"aum": {"record": "off"}, "ctaugment": {"lag": 3}, "prior": {"kind": "none"}}.get(
        name, dict.fromkeys(WITH[name], 0.0)
    )
    made = composition(ALGORITHMS["fixmatch"], **{name: off})
    assert made.addons == () and made.views == ALGORITHMS["fixmatch"].views(made.cfg)


@added
def test_an_add_on_writes_no_state_in_the_forward_and_one_forward_tracks(name: str):
    algorithm = fixmatch(name)
    before = copy.deepcopy(algorithm.state_dict())
    algorithm.train_step(batch_for(algorithm), Runner(algorithm, lr=0.0))
    moved = {key for key, value in algorithm.state_dict().items() if not torch.equal(value, before[key])}
    assert all("running_" in key or key.endswith("num_batches_tracked") for key in moved)
    assert algorithm.network.norm.num_batches_tracked == 1


@added
def test_every_parameter_of_an_add_on_gets_a_gradient(name: str):
    algorithm = fixmatch(name)
    run = Runner(algorithm)
    run.step(batch_for(algorithm))
    assert run.gradients.keys() == dict(algorithm.named_parameters()).keys()


@added
def test_an_add_on_s_state_goes_on_bit_for_bit(name: str):
    through, resumed = fixmatch(name), fixmatch(name)
    run = Runner(through)
    for seed in range(3):
        run.step(batch_for(through, seed))
    torch.manual_seed(5)
    other = Runner(resumed)
    other.load(copy.deepcopy(run.state()))
    for seed in (3, 4):
        one, two = run.step(batch_for(through, seed)), other.step(batch_for(resumed, seed))
        assert torch.equal(one.loss, two.loss)
    state = resumed.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in through.state_dict().items())


@added
def test_an_add_on_is_in_the_algorithm_s_graph(name: str):
    torch._dynamo.reset()
    algorithm = fixmatch(name).float()
    counter = CompileCounterWithBackend("eager")  # graphs are counted, not made
    algorithm.forward = torch.compile(algorithm.forward, fullgraph=True, dynamic=False, backend=counter)
    run = Runner(algorithm)
    for seed in range(3):
        run.step(batch_for(algorithm, seed))
    assert counter.frame_count == 1


@added
def test_equal_micro_batches_mean_the_whole_batch(name: str):
    if composition(ALGORITHMS["fixmatch"], **{name: WITH[name]}).couplings():
        pytest.skip("couples all samples of a batch, and refuses micro-batches")
    outputs, gradients, states = [], [], []
    for micro in (1, 2):
        algorithm = fixmatch(name).eval()
        run = Runner(algorithm, micro=micro)
        outputs.append(run.step(batch_for(algorithm, 7), train=False))
        gradients.append(run.gradients)
        states.append(dict(algorithm.addons.state_dict()))
    torch.testing.assert_close(outputs[0].loss, outputs[1].loss, rtol=1e-9, atol=0)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(*states, rtol=1e-9, atol=1e-12)


def test_what_cannot_be_combined_is_refused_with_the_reason():
    def problems(algorithm: str, **addons: dict[str, Any]) -> str:
        return "\n".join(composition(ALGORITHMS[algorithm], **addons).problems())

    on = {"weight": 1.0}
    assert problems("mpl", dst=on) == "addons.dst: mpl has several networks, which take no add-ons"
    assert problems("vat", dst=on) == "addons.dst: vat lets nothing change its trained logits"
    assert problems("uda", adsh=on) == "" and "mask" in problems("mixmatch", adsh=on)
    assert problems("mixmatch", abc=on) == (
        "addons.abc: mixmatch as configured has no labeled and no guessed and no trained view to read"
    )
    assert problems("fixmatch", dst=on, abc=on, adsh=on, balanced=on) == ""

    class Other(THROW_AWAY["abc"]):
        pass

    with registered(other=Other):
        found = problems("fixmatch", abc=on, other=on)
        with pytest.raises(UserError, match=r"addons.other: Views: draws \['abc'\] are there already"):
            resolve(["--addons.abc.weight", "1", "--addons.other.weight", "1"])
        assert "addons.other: Views: draws ['abc'] are there already" in found
        assert "addons.other: abc and other both have heads to use in place of the main one; use one of them" in found


def test_another_head_takes_the_gradient_of_pseudo_labels():
    algorithm = fixmatch("dst", threshold=0.0)
    batch = batch_for(algorithm)
    algorithm(batch).loss.backward()
    found = algorithm.network.head.weight.grad.clone()
    alone = composed(ALGORITHMS["fixmatch"], {"threshold": 2.0, "weight": 0.0})
    alone.network.load_state_dict(algorithm.network.state_dict())
    alone(batch_for(alone)).loss.backward()
    torch.testing.assert_close(found, alone.network.head.weight.grad)  # of the labeled loss alone
    assert algorithm.addons["dst"].pseudo.weight.grad.abs().max() > 0


def test_an_own_head_is_averaged_evaluated_and_named_for_export():
    algorithm = fixmatch("abc")
    run = Runner(algorithm)
    for seed in range(4):
        run.step(batch_for(algorithm, seed))
    own, averaged = algorithm.addons["abc"].balanced, algorithm.ema_heads["abc"]
    assert not torch.equal(own.weight, averaged.weight) and averaged.weight.abs().max() > 0
    images = batch_for(algorithm, 9).x["weak"]
    algorithm.eval()
    for module, head in (("network", own), ("ema", averaged)):
        features = algorithm.get_submodule(module).features(algorithm.normalize(images))
        torch.testing.assert_close(
            algorithm.predict(images, module), torch.nn.functional.linear(features, head.weight, head.bias)
        )
    assert algorithm.exported_head() == {"raw": "addons.abc.balanced", "ema": "ema_heads.abc", "offset": None}


def test_the_average_of_an_own_head_follows_it_as_the_network_s_follow_theirs():
    algorithm = fixmatch("abc")
    own, shadow = algorithm.addons["abc"].balanced, algorithm.ema_heads["abc"]
    before, weight = shadow.weight.clone(), algorithm.ema_weight()
    with torch.no_grad():
        own.weight += 1
    algorithm.update_ema()
    torch.testing.assert_close(shadow.weight, (1 - weight) * before + weight * own.weight)


def test_a_prediction_offset_is_added_to_what_is_evaluated():
    algorithm = fixmatch("balanced").eval()
    images = batch_for(algorithm).x["weak"]
    difference = algorithm.predict(images, "ema") - algorithm.infer(images, "ema")
    torch.testing.assert_close(difference, (torch.arange(4) / 10).double().expand_as(difference))
    assert algorithm.exported_head()["offset"] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_an_add_on_that_does_nothing_changes_nothing():
    class Idle(Once):
        pass

    with registered(idle=Idle):
        made, plain = composed(ALGORITHMS["fixmatch"], idle={"weight": 1.0}), composed(ALGORITHMS["fixmatch"])
    one, two = Runner(made), Runner(plain)
    for seed in range(3):
        assert torch.equal(one.step(batch_for(made, seed)).loss, two.step(batch_for(plain, seed)).loss)
    assert made.state_dict().keys() == plain.state_dict().keys()
    assert isinstance(made.addons["idle"], AddOn)


class Colored(Once):
    """A further view by learned strengths, and a stream of the same name as a draw of its base."""

    @classmethod
    def views(cls, cfg: Weighted, base: Base) -> Views:
        return Views(unlabeled={"third": "ctaugment"}, streams={"own": OwnStream({"weak": "weak"}, draws={"lam": 1})})


class Listed(Config):
    classes: tuple[int, ...] = ()


class Chosen(AddOn):
    Config = Listed

    @classmethod
    def active(cls, cfg: Listed, base: Base) -> bool:
        return bool(cfg.classes)


def test_an_add_on_s_view_may_learn_its_strengths_and_its_fields_be_lists():
    with registered(colored=Colored, chosen=Chosen):
        made = composition(ALGORITHMS["fixmatch"], colored={"weight": 1.0})
        assert [addon.name for addon in made.addons] == ["colored", "ctaugment"] and made.problems() == []
        cfg = resolve(["--addons.chosen.classes", "1,2"])[1]
        assert cfg.addons.chosen.classes == (1, 2)


def test_streams_and_parameters_must_not_mean_the_run_s_own():
    with pytest.raises(ValueError, match="are the run's own streams"):
        Views(streams={"labeled": OwnStream({"weak": "weak"})})

    class Strange(Once):
        @classmethod
        def views(cls, cfg: Weighted, base: Base) -> Views:
            return Views(streams={"own": OwnStream({"far": "weak"})}, params=("far",))

    with registered(strange=Strange):
        assert "the parameters of far" in composition(ALGORITHMS["fixmatch"], strange={"weight": 1.0}).problems()[0]
