"""Text of pictures fits where it stands."""

from semisonic.reporting.letters import cut, font, wrapped


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
