"""Sealed items: what the server told itself comes back whole, and from nobody else."""

import pytest

from semisonic.daily.page.items import Item, Seal

SEAL = Seal(bytes(32))


@pytest.mark.parametrize("item", [Item(1, None, None, False), Item(2**40, 7, 3, True), Item(5, 9, None, False, 8)])
def test_an_item_comes_back_as_it_was(item: Item):
    assert SEAL.open(SEAL.close(item)) == item and Seal(bytes(32)).open(SEAL.close(item)) == item


def test_items_tell_nothing():
    """Equal images have items that differ, and all are equally long, a repeat's too."""
    texts = {SEAL.close(item) for item in [Item(1, 4, None, False)] * 20 + [Item(1, 4, None, False, 4)] * 20}
    assert len(texts) == 40 and {len(text) for text in texts} == {84}
    masks = [SEAL._masked(bytes([number] * 12), bytes(33)) for number in range(50)]
    assert len(set(masks)) == 50 and all(len(set(mask)) > 10 for mask in masks)


def test_what_was_not_sealed_here_is_refused():
    text = SEAL.close(Item(1, 2, 3, True))
    forged = [text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :] for place in range(0, 80, 7)]
    for other in (
        "",
        "x",
        "é",
        text[:-4],
        text + "AAAA",
        "\0" * 84,
        *forged,
        Seal(b"1" * 32).close(Item(1, 2, 3, True)),
    ):
        with pytest.raises(ValueError, match="no item of this page"):
            SEAL.open(other)


def test_a_draw_is_the_same_each_time_and_even():
    drawn = [SEAL.draw(f"text {number}") for number in range(2000)]
    assert drawn == [SEAL.draw(f"text {number}") for number in range(2000)] != [Seal(b"1" * 32).draw("text 0")]
    assert 0 <= min(drawn) < max(drawn) < 1 and 0.47 < sum(drawn) / 2000 < 0.53
