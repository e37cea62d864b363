"""
Where Salt finds the modules of this tree when it is installed as a wheel: the entry point ``salt.loader``.

The wheel has the tree as it is, in ``share/failback`` below the prefix that it is installed to. Its library
is importable from the same prefix, so nothing has to be synced on that host. ``file_roots`` still has to
point at ``share/failback/salt``: Salt serves no SLS of a wheel by itself.
"""

import pathlib

#: Salt's word for a kind of module, and its folder in the tree.
FOLDERS = {"modules": "_modules", "states": "_states", "runners": "_runners", "output": "_output"}


def tree(start=__file__):
    """
    The folder ``salt`` of the tree that was installed with this file, or None.

    start
        A file below the prefix.
    """
    for folder in pathlib.Path(start).resolve().parents:
        found = folder / "share/failback/salt"
        if found.is_dir():
            return found
    return None


def places():
    """``{kind: [folder]}`` for Salt's loader; empty in a tree that Salt has synced."""
    found = tree()
    return {kind: [str(found / folder)] for kind, folder in FOLDERS.items()} if found else {}
