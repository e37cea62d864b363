"""
HTML that needs nothing but itself: no network, no script, light and dark, good on paper. Pure.

All text goes through :func:`text`. Names come from nodes and files, and a name is never markup.
"""

import html

from failback_master.surface import words

#: No script and nothing from elsewhere, should a name ever get past :func:`text`.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1c2126; --dim: #5c6670; --paper: #fff; --card: #f5f7f9; --line: #d5dbe1;
  --good: #1a7f4b; --bad: #c0262d; --warn: #a35f00;
  --first: #2f6fb3; --second: #9a4fb0; --none: #d9822b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e3e8ec; --dim: #98a3ad; --paper: #15181b; --card: #1e2327; --line: #353d44;
    --good: #4cc38a; --bad: #ff6b6f; --warn: #f0b04d;
    --first: #6cacf0; --second: #cb8be0; --none: #f0a05a;
  }
}
* { box-sizing: border-box; }
body {
  font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 68rem; margin: 0 auto; padding: 1.5rem;
}
h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; padding-bottom: .2rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1rem 0 .2rem; }
p { margin: .4rem 0; }
.dim { color: var(--dim); }
.good { color: var(--good); }
.bad { color: var(--bad); }
.warn { color: var(--warn); }
.badge { padding: 0 .6em; border: 1px solid currentColor; border-radius: 1em; font-weight: 600; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; color: var(--dim); font-weight: 600; }
td, th {
  padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere;
}
.number, .time { width: 1%; white-space: nowrap; font-variant-numeric: tabular-nums; }
.number { text-align: right; }
.number, .time { padding-right: 1.2rem; }
.path { min-width: 14rem; }
.scroll { overflow-x: auto; }
code, .names { font: 13px/1.45 ui-monospace, monospace; overflow-wrap: anywhere; }
.names { margin: .3rem 0 .8rem 1rem; padding: 0; list-style: none; }
details { margin: .2rem 0; }
summary { cursor: pointer; }
svg {
  width: 100%; min-width: 44rem; height: auto; display: block; margin: .4rem 0;
  background: var(--card); border-radius: 6px;
}
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg .dim { fill: var(--dim); }
svg .rule { stroke: var(--line); }
svg .good { fill: var(--good); }
svg .bad { fill: var(--bad); }
svg .skip { fill: var(--line); }
svg .first { fill: var(--first); }
svg .second { fill: var(--second); }
svg .none { fill: var(--none); }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2 { break-after: avoid; }
  tr, svg { break-inside: avoid; }
  .scroll { overflow: visible; }
  svg { min-width: 0; }
  svg, .badge { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def text(value):
    """Text of a node or a person, as it may stand in a page: nothing in it is markup, nothing in it hides."""
    return html.escape(words.safe(value), quote=True)


def page(title, parts):
    """
    A whole page.

    title
        Plain text.

    parts
        HTML, in its order.
    """
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            f"<title>{text(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            *parts,
            "</body>",
            "</html>",
            "",
        ]
    )


def table(header, rows, kinds=None):
    """
    A table.

    header
        Plain text, by column.

    rows
        Lists of HTML, by column.

    kinds
        By column a class of its cells, ``number``, ``time`` or ``path``, or an empty text.
    """
    kinds = kinds or [""] * len(header)
    marks = [f' class="{kind}"' if kind else "" for kind in kinds]
    head = "".join(
        f"<th{mark if 'number' in mark else ''}>{text(one)}</th>" for one, mark in zip(header, marks)
    )
    body = "\n".join(
        "<tr>" + "".join(f"<td{mark}>{cell}</td>" for cell, mark in zip(row, marks)) + "</tr>" for row in rows
    )
    rows_of_it = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return f'<div class="scroll"><table>\n{rows_of_it}\n</table></div>'


def names(title, entries):
    """A list of names that is folded away at first; those that do not fit are said to be missing."""
    items = "\n".join(f"<li>{one}</li>" for one in entries)
    return f'<details><summary>{title}</summary>\n<ul class="names">\n{items}\n</ul></details>'


def count(number):
    """A number of files, as people read it: ``100,000``."""
    return f"{number:,}"


class Drawing:
    """
    An SVG of fixed width in its own units, which the page scales.

    height
        In the same units.

    meaning
        What it shows, for who cannot see it.
    """

    WIDTH = 1000

    def __init__(self, height, meaning):
        self._head = (
            f'<div class="scroll"><svg viewBox="0 0 {self.WIDTH} {height}" role="img" '
            f'aria-label="{text(meaning)}" '
            f'xmlns="http://www.w3.org/2000/svg">'
        )
        self._parts = []

    def bar(self, left, top, width, height, kind, title):
        """A bar with a title that shows when it is pointed at; never too thin to be seen."""
        self._parts.append(
            f'<rect x="{left:.2f}" y="{top:.2f}" width="{max(width, 1.5):.2f}" height="{height:.2f}" rx="2" '
            f'class="{kind}"><title>{text(title)}</title></rect>'
        )

    def say(self, left, top, said, anchor="start", kind=""):
        """A line of text."""
        mark = f' class="{kind}"' if kind else ""
        self._parts.append(
            f'<text x="{left:.2f}" y="{top:.2f}" text-anchor="{anchor}"{mark}>{text(said)}</text>'
        )

    def rule(self, left, top, right, bottom):
        """A thin line."""
        self._parts.append(
            f'<line x1="{left:.2f}" y1="{top:.2f}" x2="{right:.2f}" y2="{bottom:.2f}" class="rule"/>'
        )

    def html(self):
        """The element."""
        return "\n".join([self._head, *self._parts, "</svg></div>"])
