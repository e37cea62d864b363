"""The commands that refusals and plans name, as an operator types them. Pure."""

import json
import shlex


def plan(pair, operation, overrides=None):
    """How to look at what an operation would do; ``overrides`` as for :py:func:`command`."""
    winner = (overrides or {}).get("winner")
    return (
        f"salt-run pair.plan {pair}"
        + ("" if operation == "recover" else f" operation={operation}")
        + (f" winner={winner}" if winner else "")
    )


def command(operation, pair, overrides):
    """
    How an orchestration is typed: quoted for YAML, and that for the shell.

    overrides
        Dict of what its pillar has beside the pair.
    """
    pillar = ", ".join(f"{key}: {_yaml(key, word)}" for key, word in {"pair": pair, **overrides}.items())
    return f"salt-run state.orch orch.{operation} pillar={shlex.quote('{' + pillar + '}')}"


def _yaml(key, word):
    if key not in ("plan", "reason") and not isinstance(word, (bool, list)):
        # A name or a number.
        return str(word)
    # JSON is YAML, but for what YAML calls not printable.
    text = json.dumps(word, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in text)
