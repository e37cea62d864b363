"""
Draws the answers of the runner ``pair``, and what this tree's orchestrations have come to.

The runner returns ``{"data": …, "outputter": "pairs"}``; ``--out=json`` and any other ``--out`` win over it.
What is printed is decided in ``failback_master.surface``.
"""

import time

from failback_master.surface import answers
from failback_master.surface import live

__virtualname__ = "pairs"


def __virtual__():
    return __virtualname__


def output(data, **kwargs):
    """
    An answer as text.

    data
        What a function of the runner ``pair``, or ``state.orch``, has returned.

    CLI Example:

    .. code-block:: bash

        salt-run pair.status
    """
    if isinstance(data, dict) and isinstance(data.get("page"), str):
        return data["page"]  # of pair.report, for a file
    # Lines of progress were printed while it worked; a person who saw them needs no list of steps again.
    width = live.columns()
    seen = width is not None and live.SCREEN.is_open
    live.SCREEN.close()
    return "\n".join(answers.lines(data, width, time.time(), with_steps=not seen))
