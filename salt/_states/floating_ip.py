"""
Have a floating IP address held, or not held, by a minion.

.. code-block:: yaml

    The gateway of the Salt masters is held here:
      floating_ip.present:
        - name: 10.0.0.5/24
        - interface: eth0
        - label: eth0:0

    The public address is not held here:
      floating_ip.absent:
        - name: monitor-public
        - address: 203.0.113.9/28
        - interface: eth1

Which server of a pair should have an address is not for a highstate to decide, because it changes
without one: these states belong in orchestrations, after the verdict. A claim fails when another
host answers for the address, in test mode as well.
"""

from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

__virtualname__ = "floating_ip"


def __virtual__():
    if "floating_ip.status" not in __salt__:
        return False, "The floating_ip execution module is missing: salt-call saltutil.sync_all"
    return __virtualname__


def present(name, interface, address=None, label=None, check=True):
    """
    The minion has the address on an interface.

    name
        The address with its prefix length, unless ``address`` gives it.

    interface
        The interface to bear it.

    address
        The address with its prefix length, as in ``10.0.0.5/24`` or ``fd00::5/64``.

    label
        What ``ip address`` shows beside it, as in ``eth0:0``. IPv4 only.

    check
        Fail if another host answers for the address. Without it two servers may hold it: leave it
        out only if the other one is known to be off.
    """
    address = address or name
    ret = {
        "name": name,
        "result": True,
        "changes": {},
        "comment": f"{address} is already held on {interface}",
    }
    try:
        found = __salt__["floating_ip.status"](address, interface, label=label)
        if found["held_as_wanted"]:
            return ret
        ret["changes"] = {
            "old": _described(found["held_on"], found["prefix"], found["found_label"]),
            "new": _described([interface], _prefix(address), label or _own(found, interface)),
        }
        if __opts__["test"]:
            problem = _obstacle(found, address, interface, check)
            if problem:
                raise CommandExecutionError(problem)
            ret["result"] = None
            ret["comment"] = f"Would have taken {address} on {interface}"
            return ret
        __salt__["floating_ip.present"](address, interface, label=label, check=check)
        now = __salt__["floating_ip.status"](address, interface, label=label)
        if not now["held_as_wanted"]:
            raise CommandExecutionError(
                f"{address} was taken, but {interface} does not bear it as it should: "
                f"{_described(now['held_on'], now['prefix'], now['found_label']) or 'not at all'}"
            )
        ret["comment"] = f"{address} is held on {interface}, and was announced"
    except (CommandExecutionError, SaltInvocationError) as error:
        ret.update(result=False, changes={}, comment=str(error))
    return ret


def absent(name, interface, address=None):
    """
    The minion does not have the address on any interface.

    name
        The address with its prefix length, unless ``address`` gives it.

    interface
        The interface that should have borne it.

    address
        The address with its prefix length, as in ``10.0.0.5/24`` or ``fd00::5/64``.
    """
    address = address or name
    ret = {
        "name": name,
        "result": True,
        "changes": {},
        "comment": f"{address} is already not held",
    }
    try:
        found = __salt__["floating_ip.status"](address, interface)
        if not found["held"]:
            return ret
        ret["changes"] = {
            "old": _described(found["held_on"], found["prefix"], found["found_label"]),
            "new": None,
        }
        if __opts__["test"]:
            ret["result"] = None
            ret["comment"] = f"Would have released {address} from {', '.join(found['held_on'])}"
            return ret
        __salt__["floating_ip.absent"](address, interface)
        if __salt__["floating_ip.status"](address, interface)["held"]:
            raise CommandExecutionError(f"{address} was released, but this minion still has it")
        ret["comment"] = f"{address} was released from {', '.join(found['held_on'])}"
    except (CommandExecutionError, SaltInvocationError) as error:
        ret.update(result=False, changes={}, comment=str(error))
    return ret


def _obstacle(found, address, interface, check):
    """Why present would fail, found without changing anything; None if it would not."""
    if not found["interface_exists"]:
        return f"{address} cannot be taken: this minion has no interface {interface}"
    if not found["interface_up"]:
        return f"{address} cannot be taken: {interface} is down"
    if found["held"]:
        if found["held_on"] != [interface] or found["prefix"] != _prefix(address):
            return (
                f"{address} cannot be taken on {interface}: this minion bears it as /"
                f"{found['prefix']} on {', '.join(found['held_on'])}. Remove it there first"
            )
        return None
    if check:
        answering = __salt__["floating_ip.answered_by"](address, interface)
        if answering:
            return f"{address} cannot be taken: {', '.join(answering)} answers for it"
    return None


def _prefix(address):
    return int(address.rpartition("/")[2])


def _own(found, interface):
    return None if ":" in found["address"] else interface


def _described(interfaces, prefix, label):
    if not interfaces:
        return None
    described = {"interface": ", ".join(interfaces), "prefix": prefix}
    if label:
        described["label"] = label
    return described
