"""Text of pictures fits where it stands."""

from semisonic.reporting.letters import broken, cut, font, wrapped


def test_text_is_cut_where_there_is_no_room():
    assert cut("word", 12, 200) == "word"
    short = cut("a long word", 12, 40)
    assert short.endswith("…") and font(12).getlength(short) <= 40


def test_lines_break_between_words_and_none_is_too_long():
    text = "posterize to 4 bits, solarize from 252, " + "x" * 80
    lines = wrapped(text, 11, 100)
    assert len(lines) > 3 and all(font(11).getlength(line) <= 100 for line in lines)
    assert lines[-1].endswith("…") and " ".join(lines[:-1]) == "posterize to 4 bits, solarize from 252,"
    assert wrapped("one two", 11, 500) == ["one two"] and wrapped("", 11, 50) == [""]


def test_words_that_are_too_long_are_broken_and_nothing_is_lost():
    lines = broken("a run " + "W" * 60, 11, 120)
    assert (
        all(font(11).getlength(line) <= 120 for line in lines) and "".join(lines).replace(" ", "") == "arun" + "W" * 60
    )
    assert broken("one two", 11, 500) == ["one two"] and broken("", 11, 50) == []
