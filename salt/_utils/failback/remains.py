"""
What is left of a pair on this node, whether it still knows the pair or not. Nothing is changed.

:py:mod:`failback.decisions.retirement` says it in sentences.
"""

from failback.host import services
from failback.host import system
from failback.network import floating
from failback.replication import lsyncd_config

#: Seconds for systemd to say what it starts at boot.
ASKED_WITHIN = 10


def facts(member):
    """
    Look at what is left.

    member
        :py:class:`failback.pair.Member`, of the configuration that the pillar has: the node may have lost its
        own.

    Returns a dict of JSON types: ``node``; ``known``, whether this node has a configuration of the pair;
    ``held``, the pair's addresses on its interfaces, as ``{"address", "interface"}``; ``units``, by name
    ``{"active", "enabled"}``, what systemd says of them; ``lsyncd``, whether it runs; ``state``, the folder
    of ledger, runs and backups, or None; ``program``, the files and folders of the program that are there.
    """
    config, paths = member.config, member.paths
    entries = [*config["services"], *config["active_services"]]
    active = services.states({"name": one["name"]} for one in [*entries, {"name": services.LSYNCD}])
    # Whatever interface has it, the kernel answers for it.
    held = [
        {"address": one.address, "interface": one.interface}
        for one in floating.of_pair(config)
        if floating.status(one)["held"]
    ]
    state = paths.state(config["name"])
    program = (paths.program, paths.library, paths.root / "var/cache/failback", paths.configuration)
    return {
        "node": member.node,
        "known": paths.pair_config(config["name"]).exists(),
        "held": held,
        "units": {
            one["name"]: {"active": active[one["name"]], "enabled": _enabled(one["name"])} for one in entries
        },
        "lsyncd": active[services.LSYNCD] == "active",
        "state": str(state) if state.exists() else None,
        "program": [str(one) for one in program if one.exists()],
    }


def _enabled(name):
    """``enabled``, ``disabled``, ``static`` …, as systemd says it, whatever its exit status."""
    words = ["systemctl", "is-enabled", name]
    said = system.run(words, ASKED_WITHIN, f"ask whether {name} starts at boot", accept=tuple(range(256)))
    return said.strip().splitlines()[0] if said.strip() else "not-found"


def own_lsyncd(paths):
    """The files of lsyncd that Failback has written, and nobody else."""
    marked = (
        (paths.root / "etc/systemd/system/lsyncd.service", paths.program.name),
        (paths.root / "etc/lsyncd/lsyncd.conf.lua", lsyncd_config.MARK),
    )
    return [str(path) for path, mark in marked if path.is_file() and mark in path.read_text(errors="replace")]
