"""
Pages to look at: one of a run, one of a pair. A function of the runner ``pair``, by its virtual name.

.. code-block:: bash

    salt-run pair.report 20261122T183000-recover-salt-4f2a > run.html
    salt-run pair.report salt > salt.html
"""

import re
import time

from salt.exceptions import CommandExecutionError

from failback.state import runs
from failback_master import checks
from failback_master import minions
from failback_master.surface import pair_page
from failback_master.surface import run_page
from failback_master.surface.command import bad
from failback_master.surface.command import command

__virtualname__ = "pair"

#: How many file names of each kind a page has for each path, and how many lines of each node's log.
NAMES, LINES = 500, 500

USAGE = "salt-run pair.report <run or pair> [names=500] > page.html"


def __virtual__():
    return __virtualname__


@command
def report(of=None, names=NAMES):
    """
    Make a page of a run, or of a pair's last 90 days: HTML that needs nothing but itself.

    Nothing is changed. Both nodes are asked for what they have kept; a page of a run that one of them has
    lost, or that never closed, says so.

    of
        Id of a run, from ``salt-run pair.history``, or the name of a pair.

    names
        For a run: how many file names of each kind for each path. The counts are always complete.

    Returns ``{"page": html}``; what is printed is the page alone. Raises when no node knows the run, or none
    answers.

    CLI Example:

    .. code-block:: bash

        salt-run pair.report 20261122T183000-recover-salt-4f2a > run.html
        salt-run pair.report salt > salt.html
    """
    pairs = checks.pairs_of_master(__salt__["pillar.show_pillar"](__opts__["id"]), __opts__["id"])
    run = of if isinstance(of, str) and runs.ID.fullmatch(of) and ".." not in of else None
    pair = re.fullmatch(r"[^-]+-[^-]+-(.+)-[0-9a-f]{4}", run).group(1) if run else of
    config = checks.configuration(pairs, pair, USAGE)
    nodes = minions.Nodes(__opts__)
    ids = [config[role]["id"] for role in ("primary", "secondary")]
    if run:
        return _of_run(nodes, ids, config, run, names)
    records, errors = nodes.try_all(ids, "pair.history", look=minions.LOOK_WITHIN, pair=pair)
    if not records:
        raise CommandExecutionError(" ".join(map(str, errors.values())))
    reports, _ = nodes.try_all(sorted(records), "pair.report", pair, look=minions.LOOK_WITHIN)
    # A node of an earlier release keeps none.
    lags, _ = nodes.try_all(sorted(records), "pair.lags", pair, look=minions.LOOK_WITHIN)
    both = [reports.get(one) for one in ids]
    page = {"page": pair_page.page(config, records, both, time.time(), errors, lags=lags)}
    return bad(page) if errors else page


def _of_run(nodes, ids, config, run, names):
    details, errors = nodes.try_all(ids, "pair.run_details", config["name"], run, names=names, lines=LINES)
    if not any(one["record"] for one in details.values()):
        pair = config["name"]
        said = " ".join(map(str, errors.values()))
        known = f"`salt-run pair.history {pair}` lists those there are."
        raise CommandExecutionError(f"No node of {pair} knows the run {run}. {known} {said}".strip())
    page = {"page": run_page.page(run, config, details, errors)}
    return bad(page) if errors else page
