"""
lsyncd of a pair, as it should be on this node.

.. code-block:: yaml

    Configure lsyncd:
      lsyncd.managed:
        - name: salt

    Carry changes to the standby:
      lsyncd.running:
        - name: salt
        - require:
          - lsyncd: Configure lsyncd

``running`` belongs into an orchestration, not into highstate: it asks the gate, which a reboot
closes.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "lsyncd"


def __virtual__():
    return __virtualname__


def _result(name):
    return {"name": name, "result": True, "changes": {}, "comment": ""}


def _failed(ret, error, changes=None):
    ret["result"] = False
    ret["changes"] = changes or {}
    ret["comment"] = str(error)
    return ret


def _written(name, difference):
    """What a start that failed has changed all the same: the configuration is written before it."""
    try:
        if not difference or __salt__["lsyncd.managed"](name, test=True):
            return {}
    except CommandExecutionError:
        return {}
    return {"diff": difference}


def managed(name, rendered=None):
    """
    The configuration of lsyncd fits the pair, and lsyncd itself has read it without complaint.

    On the secondary, which lsyncd carries nothing from, a configuration of Failback is absent.

    .. code-block:: yaml

        Configure lsyncd:
          lsyncd.managed:
            - name: salt
            - rendered: {{ salt['pair.rendered']('salt') | tojson }}

    name
        Name of the pair.

    rendered
        The pair as ``pair.rendered`` gives it, so that test mode shows what the pillar asks for.
        Without it, the pair as the node has it.
    """
    ret = _result(name)
    try:
        difference = __salt__["lsyncd.managed"](name, rendered, test=True)
        if not difference:
            ret["comment"] = f"The configuration of lsyncd for {name} is already as it should be."
            return ret
        ret["changes"] = {"diff": difference}
        if __opts__["test"]:
            ret["result"] = None
            ret["comment"] = f"Would have changed the configuration of lsyncd for {name}."
            return ret
        ret["changes"] = {"diff": __salt__["lsyncd.managed"](name, rendered)}
        ret["comment"] = f"Changed the configuration of lsyncd for {name}; lsyncd accepts it."
    except CommandExecutionError as error:
        return _failed(ret, error)
    return ret


def running(name):
    """
    lsyncd runs with the configuration that fits the pair. The gate must allow it.

    .. code-block:: yaml

        Carry changes to the standby:
          lsyncd.running:
            - name: salt

    name
        Name of the pair.
    """
    ret = _result(name)
    try:
        before = __salt__["lsyncd.status"](name)
        difference = __salt__["lsyncd.managed"](name, test=True)
        if before["running"] and not difference:
            ret["comment"] = f"lsyncd of {name} already runs (process {before['pid']})."
            return ret
        ret["changes"] = {"lsyncd": {"old": before["unit"], "new": "active"}}
        if difference:
            ret["changes"]["diff"] = difference
        if __opts__["test"]:
            ret["result"] = None
            ret["comment"] = f"Would have started lsyncd of {name}, if the gate allows it then."
            return ret
    except CommandExecutionError as error:
        return _failed(ret, error)
    try:
        __salt__["lsyncd.start"](name)
        after = __salt__["lsyncd.status"](name)
        if not after["running"]:
            raise CommandExecutionError(f"lsyncd of {name} was started and has ended again. {after['why']}")
        ret["comment"] = f"lsyncd of {name} runs (process {after['pid']})."
    except CommandExecutionError as error:
        return _failed(ret, error, _written(name, difference))
    return ret


def stopped(name):
    """
    lsyncd does not run.

    .. code-block:: yaml

        Carry nothing to the standby:
          lsyncd.stopped:
            - name: salt

    name
        Name of the pair.
    """
    ret = _result(name)
    try:
        before = __salt__["lsyncd.status"](name)
        if not before["running"] and before["unit"] not in ("activating", "deactivating"):
            ret["comment"] = f"lsyncd of {name} is already stopped."
            return ret
        ret["changes"] = {"lsyncd": {"old": before["unit"], "new": "inactive"}}
        if __opts__["test"]:
            ret["result"] = None
            ret["comment"] = f"Would have stopped lsyncd of {name}."
            return ret
        __salt__["lsyncd.stop"](name)
        after = __salt__["lsyncd.status"](name)
        if after["running"]:
            return _failed(ret, f"lsyncd of {name} was stopped and runs again (process {after['pid']}).")
        ret["comment"] = f"lsyncd of {name} is stopped."
    except CommandExecutionError as error:
        return _failed(ret, error)
    return ret
