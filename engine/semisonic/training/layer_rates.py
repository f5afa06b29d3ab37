"""The learning rates of a role's networks by their layers, as `optim.layer_decay` and `optim.backbone_lr` have them.

    layer_decay d    lr d^(L - id) for the parameters of layer `id` of a network; L is its last, the head's
    backbone_lr f    f lr for a network without its head

All else keeps the whole: heads, and what algorithms and add-ons have put beside the networks.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from semisonic.distributed.engine import Engine
from semisonic.models.layers import layer_ids, networks_in, no_decay
from semisonic.optim.optimizer import LayerRates, OptimConfig
from semisonic.schema import UserError

UNKNOWN = "optim.layer_decay: nothing is known of this network's layers; use optim.backbone_lr"


def layer_rates(module: nn.Module, cfg: OptimConfig) -> LayerRates:
    """How the parameters of the networks inside a module are trained.

    Raises `UserError` for `layer_decay` where a network's layers are not known.
    """
    scales: dict[Tensor, float] = {}
    undecayed: set[Tensor] = set()
    for _, network in networks_in(module):
        parameters = dict(network.named_parameters())
        undecayed |= {parameters[name] for name in no_decay(network)}
        shares = network_shares(network, cfg) if parameters else {}
        scales |= {parameters[name]: share for name, share in shares.items()}
    return LayerRates(scales, frozenset(undecayed))


def network_shares(network: nn.Module, cfg: OptimConfig) -> dict[str, float]:
    """The learning rate of each parameter of a network, by its name, as a share of the run's."""
    if cfg.layer_decay != 1:
        found = layer_ids(network)
        if found is None:
            raise UserError(UNKNOWN)
        return {name: cfg.layer_decay ** (found.count - 1 - depth) for name, depth in found.ids.items()}
    names = (name for name, _ in network.named_parameters())
    return {name: 1.0 if name.startswith("head.") else cfg.backbone_lr for name in names}


def learning_rates(engines: Mapping[str, Engine]) -> dict[str, float]:
    """What is logged of the present learning rates: `lr` of the first role and `lr/ROLE` of the others, which is that
    of their heads, and `lr_smallest` likewise where a network has others. Waits for the device."""
    found = {}
    for number, (role, engine) in enumerate(engines.items()):
        of_role, groups = f"/{role}" if number else "", engine.optimizer.param_groups
        found[f"lr{of_role}"] = float(groups[0]["lr"])  # the largest is the first group's
        if groups[-1]["lr_scale"] != groups[0]["lr_scale"]:
            found[f"lr_smallest{of_role}"] = float(groups[-1]["lr"])
    return found


def about_training(engines: Mapping[str, Engine]) -> dict[str, str]:
    """What the start-up table says of what is trained, where that is not all alike: title -> line."""
    shares = []
    for role, engine in engines.items():
        trained, all_of_it = engine.sizes
        if trained < all_of_it:
            share = f"{trained:,} of {all_of_it:,} parameters ({100 * trained / all_of_it:.2g} %)"
            shares.append(share + (f" ({role})" if len(engines) > 1 else ""))
    found = {"trained": "; ".join(shares), "learning rates": rates_line(engines)}
    return {title: line for title, line in found.items() if line}


def rates_line(engines: Mapping[str, Engine]) -> str | None:
    """How many parameter groups there are and which learning rates they have at the peak, in a line; None where every
    parameter of a role has the same."""
    lines = []
    for role, engine in engines.items():
        scales = [group["lr_scale"] for group in engine.optimizer.param_groups]
        if scales[-1] != scales[0]:
            peak = engine.optim.peak
            lines.append(
                f"{len(scales)} groups, {scales[-1] * peak:.3g} to {scales[0] * peak:.3g}"
                + (f" ({role})" if len(engines) > 1 else "")
            )
    return "; ".join(lines) or None
