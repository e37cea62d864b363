"""Systemd's units of a pair, as facts."""

from failback import system


def states(names):
    """
    Ask systemd for the state of several units in one call.

    names
        Unit names; ``.service`` may be left out.

    Returns ``{name: state}`` with systemd's ActiveState (``active``, ``inactive``, ``failed`` …), or
    ``not-found`` for a unit that does not exist.
    """
    names = list(names)
    if not names:
        return {}
    text = system.run(
        ["systemctl", "show", "--property=LoadState,ActiveState", "--", *names],
        10,
        "ask systemd for the state of services",
    )
    found = {}
    for name, block in zip(names, text.strip().split("\n\n")):
        facts = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        missing = facts.get("LoadState") == "not-found"
        found[name] = "not-found" if missing else facts.get("ActiveState", "unknown")
    return found
