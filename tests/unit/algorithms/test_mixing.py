"""Partners: equally likely, inside their block, and the same however the batch is cut."""

import torch

from semisonic.algorithms.mixing import mixing_partners


def test_partners_stay_in_their_block_and_do_not_depend_on_the_cut():
    bits = torch.Generator().manual_seed(0)
    x, u, v = (torch.rand(n, generator=bits) for n in (8, 24, 24))
    whole = mixing_partners([x, u, v], 4)
    assert torch.equal(whole.sort().values, torch.arange(56))
    block = torch.cat([torch.arange(n) // (n // 4) for n in (8, 24, 24)])
    assert torch.equal(block[whole], block)
    assert len({int(group) for group in torch.bucketize(whole[:8], torch.tensor([8, 32]), right=True)}) > 1
    for half in (0, 1):
        own = [group.chunk(2)[half] for group in (x, u, v)]
        rows_of = torch.cat([torch.arange(56).split((8, 24, 24))[g].chunk(2)[half] for g in range(3)])
        assert torch.equal(rows_of[mixing_partners(own, 2)], whole[rows_of])


def test_images_that_are_left_out_are_their_own_partners():
    bits = torch.Generator().manual_seed(0)
    keys = [torch.rand(n, generator=bits) for n in (8, 24)]
    kept = [torch.ones(8, dtype=torch.bool), torch.rand(24, generator=bits) < 0.5]
    found, inside = mixing_partners(keys, 4, kept), torch.cat(kept)
    assert torch.equal(found.sort().values, torch.arange(32))
    assert torch.equal(found[~inside], torch.arange(32)[~inside])
    assert inside[found[inside]].all() and (found[inside] != torch.arange(32)[inside]).any()
    everything = [torch.ones_like(keep) for keep in kept]
    assert torch.equal(mixing_partners(keys, 4, everything), mixing_partners(keys, 4))
    nothing = [torch.zeros_like(keep) for keep in kept]
    assert torch.equal(mixing_partners(keys, 4, nothing), torch.arange(32))


def test_all_partners_are_equally_likely():
    counts = torch.zeros(4, 4)
    for seed in range(2000):
        keys = torch.rand(4, generator=torch.Generator().manual_seed(seed))
        counts[torch.arange(4), mixing_partners([keys], 1)] += 1
    assert ((counts / 2000 - 0.25).abs() < 0.05).all()
