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
        if found["held_as_wanted"] or __opts__["test"]:
            # What the module would refuse is no success, were the address there or not.
            problem = __salt__["floating_ip.obstacle"](address, interface, label=label, check=check)
            if problem:
                raise CommandExecutionError(problem)
        if found["held_as_wanted"]:
            return ret
        ret["changes"] = {
            "old": _described(found),
            "new": _wanted(found, interface, address, label),
        }
        if __opts__["test"]:
            ret["result"] = None
            ret["comment"] = f"Would have taken {address} on {interface}"
            return ret
        __salt__["floating_ip.present"](address, interface, label=label, check=check)
        now = __salt__["floating_ip.status"](address, interface, label=label)
        if not now["held_as_wanted"]:
            raise CommandExecutionError(
                f"{address} was taken, but {interface} does not bear it as it should: "
                f"{_described(now) or 'not at all'}"
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
        if not found["held_on"]:
            return ret
        ret["changes"] = {"old": _described(found), "new": None}
        if __opts__["test"]:
            ret["result"] = None
            ret["comment"] = f"Would have released {address} from {', '.join(found['held_on'])}"
            return ret
        __salt__["floating_ip.absent"](address, interface)
        if __salt__["floating_ip.status"](address, interface)["held_on"]:
            raise CommandExecutionError(f"{address} was released, but this minion still has it")
        ret["comment"] = f"{address} was released from {', '.join(found['held_on'])}"
    except (CommandExecutionError, SaltInvocationError) as error:
        ret.update(result=False, changes={}, comment=str(error))
    return ret


def _wanted(found, interface, address, label):
    """The address as it is to be; on the interface by the name that it bears already, if it does."""
    place = found["held_on"][0] if found["interface_has_it"] else interface
    label = label or (None if ":" in address else place)
    return {
        "interface": place,
        "prefix": int(address.rpartition("/")[2]),
        **({"label": label} if label else {}),
    }


def _described(found):
    """An address as it is, for the changes; None if it is not there."""
    if not found["held_on"]:
        return None
    described = {"interface": ", ".join(found["held_on"]), "prefix": found["prefix"]}
    if found["found_label"]:
        described["label"] = found["found_label"]
    if found["dad_failed"] or found["tentative"]:
        described["answered_for"] = False
    return described
