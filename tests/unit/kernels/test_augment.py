"""The call of the fused augmentation kernel: holes, mistakes, and a GPU that gives the same pixels."""

import numpy as np
import pytest
import torch

from semisonic_kernels import augment as kernel
from semisonic_kernels.augment import augment_reference
from tests.support.augmentation import FILL, arguments, mixed_pictures, one_operation

pytestmark = [pytest.mark.filterwarnings("ignore:The external source node"), pytest.mark.kernels("fused")]


def test_input_is_not_written_to_and_may_be_a_view():
    own = arguments([[code, (code + 5) % 10] for code in range(10)], 16, 16)
    images = mixed_pictures(10, 16, 16)
    before = images.clone()
    wanted = kernel.augment(images, *own, FILL)
    assert torch.equal(images, before)
    scattered = images.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    wide = [torch.stack([tensor, tensor], dim=1)[:, 0] for tensor in own]
    assert torch.equal(kernel.augment(scattered, *wide, FILL), wanted)
    nothing = arguments(np.zeros((10, 2)), 16, 16)
    unchanged = kernel.augment(images, *nothing[:3], None, FILL)
    assert torch.equal(unchanged, images) and unchanged.data_ptr() != images.data_ptr()


def test_holes():
    images = mixed_pictures(3, 6, 8)
    holes = torch.tensor([[0, 0, 0, 0], [1, 2, 4, 8], [0, 0, 6, 8]], dtype=torch.int32)
    ours = kernel.augment(images, *one_operation(kernel.NONE, 3)[:3], holes, FILL)
    wanted = images.clone()
    wanted[1, 1:4, 2:8] = wanted[2] = torch.tensor(FILL, dtype=torch.uint8)
    assert torch.equal(ours, wanted)


MISTAKES = {
    "images must be uint8": {"images": torch.zeros(2, 3, 8, 8, dtype=torch.uint8)},
    r"\[N, H, W, 3\], not torch.float32": {"images": torch.zeros(2, 8, 8, 3)},
    "too large": {"images": torch.zeros(1, 1, 1, 3, dtype=torch.uint8).expand(2, 4096, 4096, 3)},
    "operations must be torch.int32": {"operations": torch.zeros(2, 1, dtype=torch.int64)},
    r"values must be torch.float32 \[2, 1\]": {"values": torch.zeros(2, 2)},
    "matrices must be": {"matrices": torch.zeros(2, 1, 6)},
    "holes must be": {"holes": torch.zeros(2, 2, dtype=torch.int32)},
    "operations must be torch.int32 .* on cpu": {"operations": torch.zeros(2, 1, dtype=torch.int32, device="meta")},
    "three bytes": {"fill": (0, 0, 256)},
    "equalize must be": {"equalize": "opencv"},
    "codes 0..9": {"operations": torch.tensor([[0], [10]], dtype=torch.int32)},
    "must be finite": {"matrices": torch.full((2, 1, 2, 3), torch.nan)},
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes(message):
    operations, values, matrices, _ = one_operation(kernel.NONE, 2)
    right = {"images": mixed_pictures(2, 8, 8), "operations": operations, "values": values, "matrices": matrices}
    right |= {"holes": None, "fill": FILL}
    kernel.augment(**right)
    with pytest.raises(ValueError, match=message):
        kernel.augment(**right | MISTAKES[message])


@pytest.mark.gpu
@pytest.mark.parametrize("equalize", ["dali", "pil"])
@pytest.mark.parametrize("shape", [(32, 32), (96, 96), (224, 224), (5, 5), (33, 33), (40, 530), (1, 1)])
def test_gpu_equals_cpu(shape, equalize):
    codes = np.random.default_rng(0).integers(0, 10, (100, 3))
    images, own = mixed_pictures(100, *shape), arguments(codes, *shape)
    on_gpu = [tensor.cuda() for tensor in own]
    ours = kernel.augment(images.cuda(), *on_gpu, FILL, equalize).cpu()
    assert torch.equal(ours, augment_reference(images, *own, FILL, equalize))
    slow = augment_reference(images.cuda(), *on_gpu, FILL, equalize).cpu()
    assert torch.equal(slow, ours)


@pytest.mark.gpu
def test_replays_in_a_cuda_graph_without_waiting():
    codes = np.random.default_rng(0).integers(0, 10, (64, 2))
    batches = [(mixed_pictures(64, 32, 32, seed), arguments(codes, 32, 32, seed)) for seed in (0, 1)]
    fixed = [tensor.cuda() for tensor in (batches[0][0], *batches[0][1])]
    kernel.augment(*fixed, FILL)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        kernel.augment(*fixed, FILL)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = kernel.augment(*fixed, FILL)
    for images, own in batches:
        for tensor, new in zip(fixed, (images, *own), strict=True):
            tensor.copy_(new)
        graph.replay()
        assert torch.equal(out.cpu(), augment_reference(images, *own, FILL))
