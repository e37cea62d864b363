"""
Have a virtual machine on shared storage run, or not run, on a host of its pair.

.. code-block:: yaml

    The identity server runs on the primary:
      shared_vm.running_on:
        - name: idm
        - host: mgmt1

    Nothing runs on the host that is about to be rebuilt:
      shared_vm.absent_on:
        - name: idm
        - host: mgmt2

Both may be given to both hosts: on the one that is not meant they do nothing. A guest that runs on the other
host is not fetched from here, since that takes both: ``orch.vm`` does it. What a host may start is an
operator's choice that changes without a highstate, so these states belong in orchestrations.
"""

from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

__virtualname__ = "shared_vm"


def __virtual__():
    if "shared_vm.start" not in __salt__:
        return False, "The shared_vm execution module is missing: salt-call saltutil.sync_all"
    return __virtualname__


def running_on(name, host, pair=None):
    """
    The guest runs on a host. It is started only when the other host has answered that it does not run there.

    name
        Name of the guest, as in ``vms`` of the pair.

    host
        Minion id of the host where it should run; on the other one this state does nothing.

    pair
        Name of the pair; this minion's only pair with guests when left out.
    """

    def decide():
        known = _pair(pair)
        _require_host(known, host)
        if host != __opts__["id"]:
            return f"{name} should run on {host}, which is not this host"
        found = __salt__["shared_vm.plan"](known, name)
        if found["refusal"]:
            raise CommandExecutionError(found["refusal"])
        if found["action"] == "nothing":
            return f"{name} already runs on {host}"
        if found["source"] not in (None, host):
            raise CommandExecutionError(
                f"{name} runs on {found['source']}. Fetch it from there: "
                f"salt-run state.orch orch.vm pillar='{{vm: {name}, host: {host}}}'"
            )
        changes = {"old": None, "new": host}

        def start():
            return changes, __salt__["shared_vm.start"](known, name)["comment"]

        return changes, f"Would have started {name} on {host}", start

    return _state(name, decide)


def absent_on(name, host, pair=None):
    """
    The guest does not run on a host: it is shut down there in order, and never forced.

    name
        Name of the guest, as in ``vms`` of the pair.

    host
        Minion id of the host where it should not run; on the other one this state does nothing.

    pair
        Name of the pair; this minion's only pair with guests when left out.
    """

    def decide():
        known = _pair(pair)
        _require_host(known, host)
        if host != __opts__["id"]:
            return f"{name} should not run on {host}, which is not this host"
        guests = __salt__["shared_vm.report"](known)["guests"]
        if name not in guests:
            listed = ", ".join(guests) or "none"
            raise SaltInvocationError(f"{name} is not a guest of {known} (guests: {listed})")
        if guests[name]["state"] in ("off", "undefined") and not guests[name]["processes"]:
            return f"{name} already does not run on {host}"
        changes = {"old": host, "new": None}

        def stop():
            return changes, __salt__["shared_vm.stop"](known, name)["comment"]

        return changes, f"Would have shut {name} down on {host}", stop

    return _state(name, decide)


def storage_marked(name):
    """
    The storage that both hosts share bears its mark, and the folder of virtlockd's locks.

    Where it is not to be had this state warns and does nothing: a host that has lost it serves its pair all
    the same, and no guest is started there.

    name
        Name of the pair.
    """
    gone = []

    def decide():
        why = __salt__["shared_vm.storage_gone"](name)
        if why:
            gone.append(why)
            return "The shared storage is not there to be marked"
        missing = __salt__["shared_vm.marked"](name)
        if not missing:
            return "The shared storage is already marked"

        def mark():
            return {"made": __salt__["shared_vm.mark_storage"](name)}, "The shared storage was marked"

        return {"made": missing}, "Would have marked the shared storage", mark

    ret = _state(name, decide)
    return {**ret, "warnings": gone} if gone else ret


def not_at_boot(name):
    """
    libvirt starts none of a pair's guests when this host boots.

    name
        Name of the pair.
    """

    def decide():
        found = __salt__["shared_vm.autostarted"](name)
        if not found:
            return "No guest is started at boot"
        changes = {"no longer started at boot": found}

        def prevent():
            __salt__["shared_vm.no_autostart"](name)
            return changes, f"{', '.join(found)} will no longer be started at boot"

        return changes, f"Would have kept {', '.join(found)} from being started at boot", prevent

    return _state(name, decide)


def _state(name, decide):
    """
    What these states have in common: errors are said, and test mode changes nothing.

    decide
        Function that returns a comment when there is nothing to do; else the changes, what test mode
        says of them, and the function that makes them and returns ``(changes, comment)``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        found = decide()
        if isinstance(found, str):
            ret["comment"] = found
            return ret
        ret["changes"], would, make = found
        if __opts__["test"]:
            ret.update(result=None, comment=would)
            return ret
        ret["changes"], ret["comment"] = make()
    except (CommandExecutionError, SaltInvocationError) as error:
        ret.update(result=False, changes={}, comment=str(error))
    return ret


def _pair(pair):
    known = __salt__["shared_vm.pairs"]()
    if pair is None and len(known) == 1:
        return known[0]
    if pair not in known:
        raise SaltInvocationError(
            f"{__opts__['id']} is in {', '.join(known) or 'no pair'} with virtual machines; name the pair"
        )
    return pair


def _require_host(pair, host):
    hosts = __salt__["shared_vm.hosts"](pair)
    if host not in hosts:
        raise SaltInvocationError(f"{host} is no host of {pair} ({' and '.join(hosts)})")
