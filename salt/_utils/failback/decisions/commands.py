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
    return as_yaml(word)


def as_yaml(value, stays=str.isprintable):
    """
    A value as YAML: JSON, but for what YAML does not take.

    That is what it calls not printable, and the two escapes by which JSON writes a character beyond the first
    65536, such as an emoji.

    stays
        Which characters stand for themselves: a function of one.
    """
    return "".join(_escaped(one, stays) for one in json.dumps(value, ensure_ascii=False))


def _escaped(one, stays):
    if "\ud800" <= one <= "\udfff":
        return "\\ufffd"  # half of one
    return one if stays(one) else f"\\U{ord(one):08x}"
