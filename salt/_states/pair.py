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
