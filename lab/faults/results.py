"""
The tables of all reports that are kept, as pages.

The prose is in ``docs/faults.md``, by hand. A page counts what its reports count, so it is written where
all of them are: on the machine of the campaign.
"""

import re

from lab import cache
from lab.faults import checker
from lab.faults import moments

#: A page's place in the checkout, and whose runs it has.
PAGES = {
    "docs/faults-results.md": moments.ORCHESTRATIONS,
    "docs/faults-serving.md": moments.SERVING,
}

HEAD = """\
# Results of the fault campaign

<!-- Written by `python3 -m lab.faults --results` from the reports that are kept. Change nothing here. -->

What was rehearsed, and how to read it: [faults.md](faults.md). The numbers are runs, by fault and by the
phase in which it was made, or by how long it lasted while the pair just served. An empty cell: the fault
cannot be made there, or was not.

"""


class Fewer(Exception):
    """There are fewer reports than the page counts: writing it would forget some."""


def page(reports):
    """The page as text."""
    return HEAD + checker.table(reports) + "\n"


def counted(text):
    """How many runs a page counts."""
    found = re.search(r"^(\d+) runs, ", text, flags=re.MULTILINE)
    return int(found.group(1)) if found else 0


def write_all(reports, checkout=None):
    """
    Write each page of which there are reports, or which is there.

    Returns the sentences of those that would forget some runs: they are as they were.
    """
    said = []
    for page, operations in PAGES.items():
        place = (checkout or cache.CHECKOUT) / page
        mine = [one for one in reports if one["label"].split("/")[0] in operations]
        try:
            if mine or place.exists():
                write(mine, place)
        except Fewer as problem:
            said.append(str(problem))
    return said


def write(reports, place):
    """
    Write one page.

    Raises ``Fewer`` when it counts more runs than there are reports.
    """
    before = counted(place.read_text()) if place.exists() else 0
    if before > len(reports):
        raise Fewer(
            f"docs/{place.name} counts {before} runs, and only {len(reports)} reports are kept here. Run it "
            f"where the others are, or delete the page to begin anew."
        )
    place.write_text(page(reports))
