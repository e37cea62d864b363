"""
The replicated paths of a pair are in step with the node that served them.

.. code-block:: yaml

    salt:
      reverse_rsync.synced:
        - run: 20261122T183000-recover-salt-4f2a

With ``test=True`` it previews: what would be created, overwritten and deleted, and what speaks
against it.
"""

from salt.exceptions import SaltException

__virtualname__ = "reverse_rsync"

_COUNTS = ("overwritten", "deleted", "created", "attributes")


def __virtual__():
    return __virtualname__


def synced(name, run, sources=None, max_delete=None, max_change_percent=None):
    """
    Bring this node's paths in step with the serving node; what is replaced is kept.

    name
        Name of the pair.

    run
        Id of the run that owns the lock.

    sources
        What the serving node reports of its paths (key ``sources`` of ``pair.report``).

    max_delete
        Files that may be deleted, in all paths together; the pair's if not given.

    max_change_percent
        Share of a path's files that may be overwritten or deleted, in percent; the pair's if not
        given.
    """
    ret = {
        "name": name,
        "result": True,
        "changes": {},
        "comment": f"The paths of {name} are already in step.",
    }
    allowed = {"max_delete": max_delete, "max_change_percent": max_change_percent}
    try:
        if __opts__["test"]:
            previews = __salt__["reverse_rsync.checked"](name, sources, **allowed)
            ret["changes"] = _changes(previews)
            if ret["changes"]:
                ret["result"] = None
                ret["comment"] = f"Would have brought the paths of {name} in step."
            return ret
        done = __salt__["reverse_rsync.synced"](name, run, sources, **allowed)
        ret["changes"] = done["changes"]
        if ret["changes"]:
            ret["comment"] = done["comment"]
    except SaltException as error:
        ret["result"] = False
        ret["changes"] = {}
        ret["comment"] = str(error)
    return ret


def _changes(previews):
    return {
        each["path"]: {kind: each[kind] for kind in _COUNTS if each[kind]}
        for each in previews
        if any(each[kind] for kind in _COUNTS)
    }
