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


def _keep(name, already, needed, would, put):
    """
    What the states here have in common.

    already, would
        The comments where nothing is to be done, and in test mode.

    needed
        Function that returns what is to change, as ``changes``; empty where all is well.

    put
        Function that does it and returns the comment. It is given the changes, and empties them if nothing
        was changed after all.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": already}
    try:
        ret["changes"] = needed()
        if not ret["changes"]:
            return ret
        if __opts__["test"]:
            ret["result"] = None
            ret["comment"] = would
            return ret
        ret["comment"] = put(ret["changes"])
    except SaltException as error:
        ret.update(result=False, changes={}, comment=str(error))
    return ret


def key_present(name):
    """
    The node has the SSH key with which it reaches the other node of its pair.

    A key that is there is left alone: the other node knows it.

    name
        What this is, in words.
    """

    def needed():
        return {} if __salt__["pair.has_key"]() else {"key": "made"}

    def put(_changes):
        __salt__["pair.make_key"]()
        return "The key was made."

    return _keep(name, "The key is already there.", needed, "Would make the key.", put)


def keys_allowed(name, file, account, lines):
    """
    The keys of the other node, and no others of a peer, are in a file of authorized keys.

    They stand between two marks; all else in the file stays. No link in the home of an account is followed.

    name
        What this is, in words.

    file
        Path of the file; it is made if it is not there.

    account
        Whose keys they are: ``root``, or the account in whose home the file is.

    lines
        Text, one key a line, as ``pair.authorized_keys`` renders them.
    """

    def needed():
        return __salt__["pair.write_keys"](file, account, lines, test=True)

    def put(_changes):
        __salt__["pair.write_keys"](file, account, lines)
        return f"{file} was written."

    return _keep(name, f"{file} is as it should be.", needed, f"Would write {file}.", put)


def keys_removed(name, file, account):
    """
    No key of the other node is left in a file of authorized keys; all else in it stays.

    name
        What this is, in words.

    file
        Path of the file; there need not be one.

    account
        Whose keys they are: ``root``, or the account in whose home the file is.
    """

    def needed():
        return __salt__["pair.remove_keys"](file, account, test=True)

    def put(_changes):
        __salt__["pair.remove_keys"](file, account)
        return f"They were removed from {file}."

    return _keep(name, f"There is none in {file}.", needed, f"Would remove them from {file}.", put)


def fence_agent_known(name, pair):
    """
    The node has the fence agent that switches the other node off, as the pillar names it.

    Its options are in no output: they have passwords.

    name
        What this is, in words.

    pair
        Name of the pair.
    """

    def needed():
        done = __salt__["pair.write_fence_agent"](pair, test=True)
        return {"the fence agent's options": done} if done else {}

    def put(changes):
        return f"They were {__salt__['pair.write_fence_agent'](pair)}."

    return _keep(name, "It is as the pillar names it.", needed, "They would be written or removed.", put)


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

    def needed():
        found = __salt__["pair.package"]()
        if found["program"] == found["modules"]:
            return {}
        return {"release": {"old": found["program"], "new": found["modules"]}}

    def put(_changes):
        __salt__["pair.install_program"]()
        return "The new release is in force."

    return _keep(name, "It already is.", needed, "Would put the new release in force.", put)


def flat_program_absent(name):
    """
    The library does not lie on the node as the first releases had it, all files in one folder.

    A watch that still runs from there starts anew first. If it does not in time, it may be taking addresses:
    the folder stays, and the next highstate looks again.

    name
        What this is, in words.
    """

    def needed():
        return {"library": "removed"} if __salt__["pair.has_flat_program"]() else {}

    def put(changes):
        late = __salt__["pair.remove_flat_program"]()
        if not late:
            return "It was removed."
        changes.clear()
        return f"Left for the next highstate: {', '.join(late)} still runs from it."

    return _keep(name, "There is none.", needed, "Would remove it.", put)
