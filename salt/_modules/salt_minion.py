"""
The salt-minion itself: its settings, and a restart that loses no job.

Used by the state ``salt_minion.configured``, which highstate applies to every minion of the site so
that it comes back within seconds when the address of its master has moved.

.. code-block:: bash

    salt '*' salt_minion.process
"""

import logging
import os
import shutil
import sys
import time

import salt.config
import salt.utils.minion
from salt.exceptions import CommandExecutionError

import salt_errors
from failback.errors import FailbackError
from failback.host import system

log = logging.getLogger(__name__)

__virtualname__ = "salt_minion"

UNIT = "salt-minion.service"
#: The transient unit that restarts it, apart from the minion's own control group.
RESTARTER = "failback-restart-salt-minion"
#: Seconds that a restart waits for other jobs. One that takes longer is not worth an interruption; the
#: next highstate sees that the minion still runs with its old settings, and asks again.
JOBS_LIMIT = 3600
#: What a master asks while it waits for the restart. It must not be the reason why there is none.
QUESTIONS = (
    "salt_minion.process",
    "saltutil.find_job",
    "saltutil.running",
    "saltutil.is_running",
    "test.ping",
)


def __virtual__():
    if sys.platform != "linux":
        return False, "The module salt_minion restarts the minion through systemd."
    return __virtualname__


@salt_errors.translated
def process():
    """
    Name the process of the salt-minion, so that a restart can be told from none.

    Returns ``{"pid": …, "started": …}``, the latter in clock ticks since boot; None when systemd does not
    run it as ``salt-minion.service``.

    CLI Example:

    .. code-block:: bash

        salt '*' salt_minion.process
    """
    try:
        text = system.run(
            ["systemctl", "show", "--property=MainPID", "--value", "--", UNIT],
            10,
            "ask for the minion's process",
        )
    except FailbackError:
        return None  # no systemd here
    pid = int(text) if text.strip().isdigit() else 0
    started = system.process_started(pid) if pid else None
    return {"pid": pid, "started": started} if started is not None else None


@salt_errors.translated
def behind(settings, path):
    """
    List settings that the running minion does not use although they are in its configuration.

    settings
        Names of settings.

    path
        The file that has them. ``salt-call`` cannot see what the minion uses; there, all settings are
        named when the file is younger than the minion. In a job of the minion it is not looked at.

    CLI Example:

    .. code-block:: bash

        salt '*' salt_minion.behind '[recon_max]' /etc/salt/minion.d/failback-reconnect.conf
    """
    if "salt-call" in str(__opts__.get("__cli")):
        return list(settings) if _is_younger(path) else []
    on_disk = salt.config.minion_config(__opts__["conf_file"])
    return [name for name in settings if on_disk.get(name) != __opts__.get(name)]


def _is_younger(path):
    running = process()
    if running is None:
        return False
    since_boot = running["started"] / os.sysconf("SC_CLK_TCK")
    return os.stat(path).st_mtime > time.time() - (system.boottime() - since_boot)


@salt_errors.translated
def restart_later():
    """
    Restart the minion once the present job has returned and no other one runs.

    It is done by a unit of its own: a process of the minion would be stopped with the minion, and whether it
    survives that depends on the unit's KillMode.

    Returns the process that is to be replaced, as in ``process``; None when systemd does not run the
    minion, so that nothing was done.

    CLI Example:

    .. code-block:: bash

        salt '*' salt_minion.restart_later
    """
    running = process()
    if running is None:
        return None
    state = system.run(
        ["systemctl", "show", "--property=ActiveState", "--value", "--", f"{RESTARTER}.service"],
        10,
        "ask whether a restart of the minion is planned",
    ).strip()
    if state in ("active", "activating"):
        return running
    here = os.getpid()
    program = [shutil.which("salt-call") or os.path.join(os.path.dirname(sys.argv[0]), "salt-call")]
    program += ["--local", "--config-dir", os.path.dirname(__opts__["conf_file"]), "--log-level=warning"]
    program += ["salt_minion.restart_when_idle", str(here), str(system.process_started(here))]
    system.run(
        ["systemd-run", "--quiet", "--collect", f"--unit={RESTARTER}", "--", *program],
        10,
        "plan the restart of the minion",
    )
    return running


@salt_errors.translated
def restart_when_idle(pid, started, limit=JOBS_LIMIT):
    """
    Wait for the minion's jobs, then restart it. ``restart_later`` runs this; nobody calls it by hand.

    pid, started
        The process that asked for it, which has yet to return its result.

    limit
        Seconds to wait.

    Returns True. Raises ``CommandExecutionError`` when the minion is not idle within the limit: then it
    is not restarted.

    CLI Example:

    .. code-block:: bash

        salt-call --local salt_minion.restart_when_idle 4711 123456
    """
    before = process()
    end = time.monotonic() + float(limit)
    # The record of a job goes before its result has left, its process only after that.
    waiting = {int(pid): int(started)}
    while True:
        for job in salt.utils.minion.running({**__opts__, "multiprocessing": True}):
            if job.get("fun") not in QUESTIONS:
                waiting.setdefault(job["pid"], system.process_started(job["pid"]))
        # A minion without processes for its jobs (multiprocessing: False) is itself the process of each.
        mine = before and before["pid"]
        waiting = {
            one: began
            for one, began in waiting.items()
            if one != mine and began is not None and system.process_started(one) == began
        }
        if not waiting:
            break
        if time.monotonic() >= end:
            raise CommandExecutionError(
                f"The minion still ran jobs after {limit} s (processes {', '.join(map(str, waiting))}); it "
                f"was not restarted and goes on with its old settings. The next highstate plans it again."
            )
        time.sleep(0.1)
    if process() != before:
        return True  # somebody else has restarted it, with the settings that are on the disk now
    system.run(["systemctl", "restart", "--", UNIT], 120, "restart the minion")
    return True
