"""An inspection as a table for people."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from semisonic.inspection.findings import ClassCount, Inspection, Span
from semisonic.text import name_of, printable

CLASSES = 20
"""Classes up to which all are listed; of more, those with the most images and those with the fewest."""
SHOWN = 5
"""Paths of a kind that are listed; --json lists all."""
PAIRS = 2
"""Pairs of equal images that are listed."""
_TURNS = {
    2: "mirrored", 3: "turned by 180°", 4: "mirrored and turned by 180°", 5: "mirrored and turned by 90°",
    6: "turned by 90°", 7: "mirrored and turned by 270°", 8: "turned by 270°",
}  # fmt: skip
Line = tuple[str, str]


def show(found: Inspection, console: Console) -> None:
    """Prints all of it."""
    console.print(Text(name_of(found.source), "bold"))
    console.print(_pairs(list(_lines(found))))
    if found.classes:
        _show_classes(found, console)
    for title, style, lines in (
        ("A training would be refused", "bold red", found.problems),
        ("To look at", "bold yellow", found.notes),
    ):
        if lines:
            console.print(Text(f"\n{title}", style))
            console.print(_pairs([("-", printable(line)) for line in lines]))
    if found.suggestions:
        console.print(Text("\nSuggestions", "bold green"))
        console.print(_pairs([(printable(option), printable(why)) for option, why in found.suggestions]))
    if found.command:
        console.print(Text(f"\nTo train{', once that is put right' if found.refused else ''}", "bold"))
        console.print(Text(f"  {printable(found.command)}"), soft_wrap=True)


def _pairs(lines: Sequence[Line]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(Text(name, "" if name.startswith("-") else "cyan"), Text(value))
    return table


def _lines(found: Inspection) -> Iterator[Line]:
    yield from _role_lines(found)
    if found.files.images:
        yield from _file_lines(found)
    if found.decoded.images:
        yield from _pixel_lines(found)
    yield from _copy_lines(found)
    if found.unusable:
        paths = [f"{name_of(path)} ({printable(reason)})" for path, reason in found.unusable]
        yield "cannot be used", _some(paths, "file")
    passed = [f"{name_of(ending) or 'no ending'} {count:,}" for ending, count in found.passed_over.items()]
    if passed:
        advice = f"; {printable(found.advice)}" if found.advice else ""
        total = _count(sum(found.passed_over.values()), "file")
        yield "passed over", f"{total}, no images by name: {', '.join(passed)}{advice}"
    if found.tools:
        kinds = ", ".join(f"{name_of(name)} {count:,}" for name, count in found.tools.items())
        yield "hidden, of tools", f"{kinds}: passed over"
    if found.written:
        yield "of semisonic", f"{_some([name_of(path) for path in found.written], 'folder')}: passed over"


def _role_lines(found: Inspection) -> Iterator[Line]:
    roles = found.roles
    yield "labeled", f"{_count(roles.labeled, 'image')} of {_count(len(found.classes), 'class', 'classes')}"
    yield "unlabeled", f"{roles.unlabeled:,}"
    if roles.other:
        yield "of no role", f"{roles.other:,}: what the folders are for is not understood"
    back = " (none are given: held back from the labeled ones)" if roles.test_held_back else ""
    back = "; no test accuracy is reported" if roles.drawn and not roles.test else back
    yield "test", f"{roles.test:,}{back}"
    if roles.drawn:
        counts = [c.drawn for c in found.classes]
        per_class = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
        held_out = f", {roles.held_out:,} held out" if roles.held_out else ""
        yield "a run would use", f"{roles.drawn:,} labels ({per_class} a class){held_out}, a pool of {roles.pool:,}"


def _file_lines(found: Inspection) -> Iterator[Line]:
    files = found.files
    yield "sizes", f"{_span(files.width)} wide, {_span(files.height)} high (least, median, most)"
    if files.aspect:
        yield "width over height", _span(files.aspect, ".2f")
    if files.size is not None:
        share = f", {files.smaller / files.images:.0%}: they are enlarged" if files.smaller else ""
        yield f"below {files.size} pixels", f"{files.smaller:,} of {files.images:,}{share}"
    yield "colors", ", ".join(f"{name_of(color)} {count:,}" for color, count in files.colors.items())
    formats = [f"{name_of(f)} {n:,} ({readable_bytes(files.format_bytes[f])})" for f, n in files.formats.items()]
    yield "formats", ", ".join(formats)
    if files.orientations:
        turned = ", ".join(f"{_TURNS.get(tag, tag)} {count:,}" for tag, count in files.orientations.items())
        yield "orientation tags", f"{turned}: applied when read"
    if files.several:
        one = f", such as {name_of(files.one_of_several)}"
        yield "several pictures", f"{_count(files.several, 'file')}{one}: of each the first one is read"


def _pixel_lines(found: Inspection) -> Iterator[Line]:
    decoded, all_images = found.decoded, found.roles.images
    which = "all" if decoded.whole else f"of {all_images:,}, spread over each role; --sample all decodes all"
    yield "decoded", f"{decoded.images:,} {which}"
    of = "" if decoded.whole else f" of the {decoded.images:,}"
    if decoded.gray:
        yield "gray as color", f"{decoded.gray:,}{of}"
    if decoded.via_pillow:
        yield "not for DALI", f"{decoded.via_pillow:,}{of}: decoded by Pillow in every epoch, which is slower"
    if decoded.nearly_empty:
        paths = [name_of(path) for path in decoded.nearly_empty]
        yield "nearly empty", f"{_some(paths, 'image')}{of}; {decoded.rule}"


def _copy_lines(found: Inspection) -> Iterator[Line]:
    copies = found.copies
    if copies.same:
        links = f", {copies.links:,} of them links" if copies.links else ""
        yield "copies", f"{_count(copies.same, 'image')} with the content of another{links}{_pairs_of(copies.harmless)}"
    if copies.contradictions:
        count = _count(len(copies.contradictions), "image")
        yield "contradictions", f"{count} under two classes{_pairs_of(copies.contradictions)}"
    if copies.leaks:
        count = _count(len(copies.leaks), "test image")
        yield "test in training", f"{count} also for training{_pairs_of(copies.leaks)}"


def _pairs_of(pairs: Sequence[Sequence[str]]) -> str:
    shown = "; ".join(" = ".join(map(name_of, pair)) for pair in pairs[:PAIRS])
    return (f": {shown}" if shown else "") + (f"; and {len(pairs) - PAIRS:,} more" if len(pairs) > PAIRS else "")


def _show_classes(found: Inspection, console: Console) -> None:
    held_out, test = bool(found.roles.held_out), bool(found.roles.test)
    kept = shown_classes(found.classes, CLASSES)
    title = "\nClasses"
    if len(kept) < len(found.classes):
        title += f": {len(kept)} of {len(found.classes):,}, those with the most labeled images and with the fewest"
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    drawn = bool(found.roles.drawn)
    heads = (
        "class",
        "labeled",
        *(("a run would use",) if drawn else ()),
        *(("held out",) if held_out else ()),
        *(("test",) if test else ()),
    )
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left", overflow="fold")
    for entry in kept:
        counts = [
            entry.labeled,
            *([entry.drawn] if drawn else []),
            *([entry.held_out] if held_out else []),
            *([entry.test] if test else []),
        ]
        table.add_row(Text(name_of(entry.name)), *(Text(f"{count:,}") for count in counts))
    console.print(Text(title, "bold"))
    console.print(table)


def shown_classes(classes: Sequence[ClassCount], most: int) -> list[ClassCount]:
    """All classes in their order or, of more than `most`, the largest and the smallest."""
    if len(classes) <= most:
        return list(classes)
    ordered = sorted(classes, key=lambda entry: -entry.labeled)
    chosen = {*ordered[: most // 2], *ordered[-(most - most // 2) :]}
    return [entry for entry in ordered if entry in chosen]


def _span(value: Span | None, form: str = ",.0f") -> str:
    if value is None:
        return "-"
    if value.least == value.most:
        return f"{value.least:{form}}"
    return ", ".join(f"{number:{form}}" for number in value)


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def _some(entries: Sequence[str], noun: str) -> str:
    return f"{_count(len(entries), noun)}: {_few(entries)}"


def _few(entries: Sequence[str]) -> str:
    more = len(entries) - SHOWN
    return "; ".join(entries[:SHOWN]) + (f"; and {more:,} more" if more > 0 else "")


def readable_bytes(count: int) -> str:
    """`1.5 MB`."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.2g} {unit}"
        value /= 1000
    return f"{value:.2f} TB"
