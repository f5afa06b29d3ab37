"""Contrastive losses over the views of all ranks: NT-Xent, that of SimCLR (Chen et al. 2020, arXiv 2002.05709), and
CoMatch's, in which samples with like labels attract each other (Li et al. 2021, arXiv 2011.11183).

Shape suffixes: N samples of a rank, A = 2N of its views, M views or samples of all ranks, D dimensions, C classes.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from semisonic_kernels.collectives import gather, gather_with_gradient, ranks
from semisonic_kernels.fuse import fused


def nt_xent_reference(views_AD: Tensor, pool_MD: Tensor, start: int = 0, temperature: float = 0.5) -> Tensor:
    """`nt_xent` as a cross-entropy: each view classifies its partner among all views but itself."""
    rows_A = torch.arange(len(views_AD), device=views_AD.device)
    similarity_AM = views_AD @ pool_MD.T / temperature
    others_AM = similarity_AM.index_put((rows_A, start + rows_A), torch.full_like(similarity_AM[:, 0], -torch.inf))
    return F.cross_entropy(others_AM, start + rows_A.roll(len(rows_A) // 2))


def _check(views_AD: Tensor, pool_MD: Tensor, start: int = 0, temperature: float = 0.5) -> None:
    count = len(views_AD) if views_AD.dim() else 0
    if views_AD.dim() != 2 or not views_AD.is_floating_point() or not count or count % 2:
        raise ValueError(f"nt_xent: views must be floating [2 N, D], not {_described(views_AD)}")
    if pool_MD.dim() != 2 or pool_MD.shape[1] != views_AD.shape[1] or pool_MD.dtype != views_AD.dtype:
        raise ValueError(
            f"nt_xent: the pool must be {views_AD.dtype} [M, {views_AD.shape[1]}], not {_described(pool_MD)}"
        )
    if not 0 <= start <= len(pool_MD) - count:
        raise ValueError(f"nt_xent: start {start} leaves no {count} views in a pool of {len(pool_MD)}")
    if not temperature > 0:
        raise ValueError(f"nt_xent: temperature must be positive, not {temperature}")


@fused(nt_xent_reference, _check)
def nt_xent(views_AD: Tensor, pool_MD: Tensor, start: int = 0, temperature: float = 0.5) -> Tensor:
    """Mean over the 2 N views of -log(exp(s_partner / T) / sum of exp(s_k / T) over the pool but the view), 0-d.

    views: unit vectors floating [2 N, D], of which i and i + N are partners. pool: those of all ranks [M, D], in which
    view i is at `start` + i. s: scalar products. The gradient goes to both. Raises ValueError where shapes or dtypes
    do not fit.
    """
    similarity_AM = views_AD @ pool_MD.T / temperature
    own_A = start + torch.arange(len(views_AD), device=views_AD.device)
    itself_AM = own_A[:, None] == torch.arange(len(pool_MD), device=views_AD.device)
    total_A = similarity_AM.masked_fill(itself_AM, -torch.inf).logsumexp(1)
    # The partner is one of this rank's views: no need to search it in the pool.
    partner_A = (views_AD * views_AD.roll(len(views_AD) // 2, 0)).sum(1) / temperature
    return (total_A - partner_A).mean()


def contrastive_loss(first_ND: Tensor, second_ND: Tensor, temperature: float = 0.5) -> Tensor:
    """NT-Xent between two views of the same samples, any vectors [N, D] each; 0-d, the mean over this rank's views.

    All views of all ranks but the two are negatives, with their gradient: the mean over the ranks is the loss of the
    global batch, and so is its gradient after DDP's mean.
    """
    views_AD = F.normalize(torch.cat([first_ND, second_ND]), dim=1)
    start = dist.get_rank() * len(views_AD) if ranks() > 1 else 0
    return nt_xent(views_AD, gather_with_gradient(views_AD), start, temperature)


def graph_xent_reference(first_ND: Tensor, second_MD: Tensor, edges_NM: Tensor, temperature: float = 0.2) -> Tensor:
    """`graph_xent` by torch's cross-entropy."""
    return F.cross_entropy(first_ND @ second_MD.T / temperature, edges_NM / edges_NM.sum(1, keepdim=True))


def _check_graph(first_ND: Tensor, second_MD: Tensor, edges_NM: Tensor, temperature: float = 0.2) -> None:
    pair = first_ND, second_MD
    if any(z.dim() != 2 or not z.is_floating_point() for z in pair) or first_ND.shape[1] != second_MD.shape[1]:
        raise ValueError(
            f"graph_xent: views must be floating [N, D] and [M, D], not {_described(first_ND)} and "
            f"{_described(second_MD)}"
        )
    if edges_NM.shape != (len(first_ND), len(second_MD)) or not edges_NM.is_floating_point():
        raise ValueError(
            f"graph_xent: edges must be floating [{len(first_ND)}, {len(second_MD)}], not {_described(edges_NM)}"
        )
    if not temperature > 0:
        raise ValueError(f"graph_xent: temperature must be positive, not {temperature}")


@fused(graph_xent_reference, _check_graph)
def graph_xent(first_ND: Tensor, second_MD: Tensor, edges_NM: Tensor, temperature: float = 0.2) -> Tensor:
    """Mean over N of H(edges_n / their sum, softmax over M of the scalar products first_n second_m / T), 0-d.

    first, second: unit vectors floating [N, D] and [M, D]. edges: at least 0, a positive one in every row, floating
    [N, M]; they are constants. The gradient goes to both views. Raises ValueError where shapes do not fit.
    """
    similarity_NM = first_ND @ second_MD.T / temperature
    edges_NM = edges_NM.detach().to(similarity_NM.dtype)
    attracted_N = (edges_NM * similarity_NM).sum(1) / edges_NM.sum(1)
    return (similarity_NM.logsumexp(1) - attracted_N).mean()


def label_graph(labels_NC: Tensor, labels_MC: Tensor, start: int, threshold: float) -> Tensor:
    """How alike the labels of samples are [N, M]: scalar products of probabilities, 0 below the threshold; 1 with
    itself, which is sample n at `start` + n of all."""
    like_NM = labels_NC @ labels_MC.T
    own_N1 = start + torch.arange(len(labels_NC), device=labels_NC.device)[:, None]
    itself_NM = own_N1 == torch.arange(len(labels_MC), device=labels_NC.device)
    return like_NM.masked_fill(like_NM < threshold, 0.0).masked_fill(itself_NM, 1.0)


def graph_loss(
    first_ND: Tensor, second_ND: Tensor, labels_NC: Tensor, temperature: float = 0.2, threshold: float = 0.8
) -> Tensor:
    """CoMatch's contrastive loss between two views of the same samples, unit vectors [N, D] each, by the graph of their
    labels, probabilities [N, C] (`label_graph`); 0-d, the mean over this rank's samples.

    All samples of all ranks are classes, with their gradient: the mean over the ranks is the loss of the global batch,
    and so is its gradient after DDP's mean.
    """
    start = dist.get_rank() * len(first_ND) if ranks() > 1 else 0
    edges_NM = label_graph(labels_NC.detach(), gather(labels_NC), start, threshold)
    return graph_xent(first_ND, gather_with_gradient(second_ND), edges_NM, temperature)


def _described(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
