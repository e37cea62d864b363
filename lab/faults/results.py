"""
``docs/faults-results.md``: the tables of all reports that are kept, as a page.

The prose is in ``docs/faults.md``, by hand. The page counts what its reports count, so it is written where
all of them are: on the machine of the campaign.
"""

import re

from lab import cache
from lab.faults import checker

PAGE = "docs/faults-results.md"

HEAD = """\
# Results of the fault campaign

<!-- Written by `python3 -m lab.faults --results` from the reports that are kept. Change nothing here. -->

What was rehearsed, and how to read it: [faults.md](faults.md). The numbers are runs, by fault and by the
phase in which it was made. An empty cell: the fault cannot be made there, or was not.

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


def write(reports, path=None):
    """
    Write the page.

    Raises ``Fewer`` when it counts more runs than there are reports.
    """
    path = path or cache.CHECKOUT / PAGE
    before = counted(path.read_text()) if path.exists() else 0
    if before > len(reports):
        raise Fewer(
            f"{PAGE} counts {before} runs, and only {len(reports)} reports are kept here. Run it where the "
            f"others are, or delete the page to begin anew."
        )
    path.write_text(page(reports))
