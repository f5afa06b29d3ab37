"""The gradient by the input: it is the gradient, and no parameter notices."""

import torch
from torch import Tensor

from semisonic.algorithms.gradients import input_gradient
from semisonic.models.norm import batch_statistics
from tests.support.algorithms import images, tiny_network


def test_input_gradient_is_the_gradient_and_leaves_parameters_alone():
    network, x = tiny_network().double(), images(3, 1).double()  # BatchNorm in training mode
    expected = x.clone().requires_grad_()
    network(expected).square().sum().backward()
    fired = []
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 7)
        parameter.register_post_accumulate_grad_hook(lambda _: fired.append(1))

    def function(given: Tensor) -> Tensor:
        with batch_statistics(track=False):
            return network(given).square().sum()

    def step(x: Tensor) -> Tensor:
        return input_gradient(function, x)

    torch._dynamo.reset()
    for run in (step, torch.compile(step, fullgraph=True, backend="aot_eager")):
        for context in (torch.no_grad(), torch.enable_grad()):
            with context:
                found = run(x)
            assert not found.requires_grad
            torch.testing.assert_close(found, expected.grad)
    assert not fired and all((parameter.grad == 7).all() for parameter in network.parameters())
