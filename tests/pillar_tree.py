"""The shipped pillar, as a site has it that keeps all of its examples."""

import shutil

from lab.roles import salt as salt_role


def copy(tree, target):
    """Copy the checkout's ``pillar/`` to a new folder, with every example in the list of its ``top.sls``."""
    shutil.copytree(tree / "pillar", target)
    top = target / "top.sls"
    top.write_text(salt_role.with_examples(top.read_text()))
    return target
