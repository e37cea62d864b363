"""``failback check`` and ``failback metrics``: what was noted, for a plug-in and for Prometheus."""

import sys
import time

from failback.decisions import health
from failback.decisions import metrics
from failback.errors import FailbackError
from failback.host import files
from failback.state import configuration


def check(noted, pair=None):
    """
    Judge a pair, or all pairs of this node.

    noted
        :py:class:`failback.monitoring.facts.Noted`.

    pair
        Its name; None for all.

    Returns ``(exit status, line)`` as the guidelines of the monitoring plug-ins have them.
    """
    try:
        if pair is not None:
            configuration.require_name(pair)
        found, watches = noted.read(pair)
    except (FailbackError, OSError, KeyError, TypeError) as error:
        return health.UNKNOWN, f"FAILBACK UNKNOWN: {' '.join(str(error).split())}".replace("|", "/")
    if not found:
        what = f"of {pair}" if pair else "of any pair"
        return health.UNKNOWN, (
            f"FAILBACK UNKNOWN: nothing was noted {what} since this node booted: there is none here, or its "
            f"keeper does not run. See: systemctl status cron; journalctl -t failback"
        )
    now = time.time()
    judged = {name: health.judge(known, watches, now, age) for name, (known, age) in found.items()}
    return health.line(judged)


def write_metrics(noted, output=None):
    """
    Write the figures of all pairs of this node.

    noted
        :py:class:`failback.monitoring.facts.Noted`.

    output
        The file, which is replaced as a whole; None for standard output. Its folder must be there.

    Raises ``FailbackError`` and ``OSError``; an old file stays then, and its age shows it.
    """
    found, watches = noted.read()
    text = metrics.text([found[name] for name in sorted(found)], watches, time.time())
    if output is None:
        sys.stdout.write(text)
    else:
        files.write_atomically(output, text, mode=0o644)
