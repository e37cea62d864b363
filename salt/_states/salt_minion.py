"""
Settings of the salt-minion, in use.

.. code-block:: yaml

    The minion notices within seconds that its master has gone:
      salt_minion.configured:
        - name: failback-reconnect
        - settings:
            tcp_keepalive_idle: 2
            recon_max: 500

The minion is restarted when it runs with other settings than its files say: after the highstate has
returned and when no other job runs. A second highstate changes nothing.
"""

import json
import os

from salt.exceptions import CommandExecutionError

from failback.host import files

__virtualname__ = "salt_minion"


def __virtual__():
    if "salt_minion.process" not in __salt__:
        return False, "The module salt_minion is not there."
    return __virtualname__


def configured(name, settings):
    """
    The minion has settings in a file of its own in ``minion.d``, and uses them.

    .. code-block:: yaml

        The minion notices within seconds that its master has gone:
          salt_minion.configured:
            - name: failback-reconnect
            - settings:
                recon_max: 500

    name
        Name of the file, without ``.conf``. Files are read in the order of their names: a setting in a
        file with a later one wins, and that is not an error.

    settings
        The minion's settings by name.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    path = os.path.join(os.path.dirname(__opts__["conf_file"]), "minion.d", f"{name}.conf")
    written = False
    try:
        wanted = _text(settings)
        differs = _read(path) != wanted
        behind = [] if differs else __salt__["salt_minion.behind"](list(settings), path)
        if not differs and not behind:
            ret["comment"] = f"The minion already uses the settings of {path}."
            return ret
        if differs:
            ret["changes"] = {"file": path}
        if __opts__["test"]:
            ret["result"] = None
            ret["comment"] = (
                f"Would have written {path}, and restarted the minion if it does not use what it says."
                if differs
                else f"Would have restarted the minion, so that it uses {', '.join(behind)} of {path}."
            )
            return ret
        if differs:
            files.write_atomically(path, wanted, mode=0o644)
            written = True
            behind = __salt__["salt_minion.behind"](list(settings), path)
        _use(ret, path, behind)
    except (CommandExecutionError, OSError) as error:
        ret["result"] = False
        ret["changes"] = {"file": path} if written else {}
        ret["comment"] = f"Wrote {path}. {error}" if written else str(error)
    return ret


def _use(ret, path, behind):
    if not behind:
        ret["comment"] = f"{path} is as it should be; what it says was in use already."
        return
    running = __salt__["salt_minion.restart_later"]()
    if running is None:
        ret["comment"] = (
            f"{path} is as it should be. systemd does not run this minion as salt-minion.service: restart it "
            f"yourself, so that it uses {', '.join(behind)}."
        )
        return
    # An orchestration waits until another process than this one answers.
    ret["changes"]["restart"] = running
    ret["comment"] = f"{path} is as it should be; the minion restarts when this job has returned."


def _read(path):
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except FileNotFoundError:
        return None


def _text(settings):
    # JSON is YAML, and one setting a line.
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in settings.items()]
    return "# Managed by Salt (minion).\n" + "".join(lines)
