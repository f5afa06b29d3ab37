"""Quotes and backslashes in references."""

import pytest

from _extension.words import BadReference, is_quoted, marked, plain, split, words


def pieces(text: str, separator: str) -> list[str]:
    return [plain(piece) for piece in split(marked(text), separator)]


def test_separators_in_quotes_and_after_a_backslash_separate_nothing():
    assert pieces('a/"b/c"/d', "/") == ["a", "b/c", "d"]
    assert pieces(r"a\/b/c", "/") == ["a/b", "c"]
    assert pieces("a/", "/") == ["a", ""]


def test_words_are_what_stands_between_spaces():
    assert [plain(word) for word in words(marked('f.csv  entry="a b"/x .2f'))] == ["f.csv", "entry=a b/x", ".2f"]


def test_an_empty_pair_of_quotes_is_quoted():
    assert is_quoted(marked('""')) and not is_quoted(marked("a"))


def test_a_quote_that_is_not_closed_is_refused():
    with pytest.raises(BadReference, match="a quote is not closed"):
        marked('entry="a')


def test_a_backslash_in_quotes_is_itself():
    assert plain(marked(r'"a\b"')) == r"a\b"
