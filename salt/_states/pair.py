"""
What highstate keeps as it should be on a node of a pair, beyond files and packages.

.. code-block:: yaml

    The node has a key of its own for its pair:
      pair.key_present: []
"""

from salt.exceptions import SaltException

__virtualname__ = "pair"


def __virtual__():
    return __virtualname__


def key_present(name):
    """
    The node has the SSH key with which it reaches the other node of its pair.

    A key that is there is left alone: the other node knows it.

    name
        What this is, in words.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The key is already there."}
    try:
        if __salt__["pair.has_key"]():
            return ret
        ret["changes"] = {"key": "made"}
        if __opts__["test"]:
            ret["result"] = None
            ret["comment"] = "Would make the key."
            return ret
        __salt__["pair.make_key"]()
        ret["comment"] = "The key was made."
    except SaltException as error:
        ret.update(result=False, changes={}, comment=str(error))
    return ret


def shell_silent(name):
    """
    Root's shell prints nothing when sshd starts it for a command: rsync and git over SSH need that.

    Nothing is changed; what is wrong is named.

    name
        What this is, in words.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "It prints nothing."}
    try:
        problem = __salt__["pair.shell_noise"]()
        if problem:
            ret.update(result=False, comment=problem)
    except SaltException as error:
        ret.update(result=False, comment=str(error))
    return ret


def release_in_force(name):
    """
    What runs on the node without Salt is of the release that Salt has synced.

    name
        What this is, in words.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "It already is."}
    try:
        found = __salt__["pair.package"]()
        if found["program"] == found["modules"]:
            return ret
        ret["changes"] = {"release": {"old": found["program"], "new": found["modules"]}}
        if __opts__["test"]:
            ret["result"] = None
            ret["comment"] = "Would put the new release in force."
            return ret
        __salt__["pair.install_program"]()
        ret["comment"] = "The new release is in force."
    except SaltException as error:
        ret.update(result=False, changes={}, comment=str(error))
    return ret


def flat_program_absent(name):
    """
    The library does not lie on the node as the first releases had it, all files in one folder.

    A watch that still runs from there starts anew first. If it does not in time, it may be taking addresses:
    the folder stays, and the next highstate looks again.

    name
        What this is, in words.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "There is none."}
    try:
        if not __salt__["pair.has_flat_program"]():
            return ret
        ret["changes"] = {"library": "removed"}
        if __opts__["test"]:
            ret["result"] = None
            ret["comment"] = "Would remove it."
            return ret
        late = __salt__["pair.remove_flat_program"]()
        ret["comment"] = "It was removed."
        if late:
            left = f"Left for the next highstate: {', '.join(late)} still runs from it."
            ret.update(changes={}, comment=left)
    except SaltException as error:
        ret.update(result=False, changes={}, comment=str(error))
    return ret
