"""A contact sheet as one page that needs no other file."""

from html import escape

from semisonic.inspection.sheet import SIDE, Row, Section, Sheet, Thumb, inline

CSS = f"""
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #1f2328; background: #fff; }}
h1 {{ font-size: 1.35rem; margin: 0; overflow-wrap: anywhere; }} .pale {{ color: #656d76; }}
h2 {{ font-size: 1.05rem; margin: 1.6rem 0 .4rem; padding-top: .7rem; border-top: 1px solid #d0d7de; }}
.scroll {{ overflow-x: auto; }} table {{ border-collapse: collapse; }}
th {{ text-align: left; font-weight: 400; color: #656d76; font-size: 12px; padding: 0 1.4rem .2rem 0; }}
td {{ vertical-align: top; padding: 0 1.4rem .6rem 0; }}
td.name {{ width: 11rem; min-width: 11rem; overflow-wrap: anywhere; }}
td.name span {{ display: block; font-size: 12px; }}
.images {{ display: flex; gap: 6px; }} figure {{ margin: 0; width: {SIDE}px; }}
.box {{ width: {SIDE}px; height: {SIDE}px; background: #f3f4f6; display: flex; align-items: center;
  justify-content: center; color: #b42318; font-size: 11px; text-align: center; }}
figcaption {{ font-size: 11px; color: #656d76; overflow-wrap: anywhere; white-space: pre-line; }}
"""


def html(sheet: Sheet) -> str:
    """The page; everything that comes from files is escaped."""
    return "\n".join([
        "<!doctype html>", '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(sheet.title)}</title><style>{CSS}</style></head><body>",
        f'<h1>{escape(sheet.title)}</h1><p class="pale">{escape(sheet.subtitle)}</p>',
        *map(_section, sheet.sections), "</body></html>", "",
    ])  # fmt: skip


def _section(section: Section) -> str:
    note = f'<p class="pale">{escape(section.note)}</p>' if section.note else ""
    heads = "".join(f"<th>{escape(heading)}</th>" for heading in section.headings)
    head = f"<thead><tr><th></th>{heads}</tr></thead>" if heads else ""
    rows = "\n".join(map(_row, section.rows))
    table = f"<table>{head}<tbody>\n{rows}\n</tbody></table>"
    return f'<h2>{escape(section.title)}</h2>{note}<div class="scroll">{table}</div>'


def _row(row: Row) -> str:
    details = "".join(f'<span class="pale">{escape(line)}</span>' for line in row.details)
    blocks = "".join(f'<td><div class="images">{"".join(map(_thumb, block))}</div></td>' for block in row.blocks)
    return f'<tr><td class="name"><b>{escape(row.name)}</b>{details}</td>{blocks}</tr>'


def _thumb(thumb: Thumb) -> str:
    shown = f'<img alt="" src="{inline(thumb.png)}">' if thumb.png else "cannot be decoded"
    caption = f"<figcaption>{escape(thumb.caption)}</figcaption>" if thumb.caption else ""
    return f'<figure title="{escape(thumb.path, quote=True)}"><div class="box">{shown}</div>{caption}</figure>'
