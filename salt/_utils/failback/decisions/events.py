"""
What is told of a pair without being asked, and which programs may be told. Pure.

An event is one dict of JSON types. It reaches each hook as JSON on its standard input and, in its main parts,
as variables of its environment; see :py:mod:`failback.notify.hooks`.
"""

import re
import shlex

VERSION = 1

TAKEOVER = "takeover"
STEP_DOWN = "step-down"
SERVES_AGAIN = "serves-again"
SPLIT_BRAIN = "split-brain"
NOT_READY = "not-ready"
READY_AGAIN = "ready-again"
RUN_FAILED = "run-failed"
RUN_SUCCEEDED = "run-succeeded"
PAUSE_BEGUN = "pause-begun"
PAUSE_ENDED = "pause-ended"

CRITICAL, WARNING, NOTICE = "critical", "warning", "notice"

#: How bad each of them is. The pillar's ``notify.events`` names them.
SEVERITY = {
    TAKEOVER: CRITICAL,
    STEP_DOWN: CRITICAL,
    SERVES_AGAIN: NOTICE,
    SPLIT_BRAIN: CRITICAL,
    NOT_READY: WARNING,
    READY_AGAIN: NOTICE,
    RUN_FAILED: WARNING,
    RUN_SUCCEEDED: NOTICE,
    PAUSE_BEGUN: NOTICE,
    PAUSE_ENDED: NOTICE,
}
ALL = tuple(SEVERITY)

#: Seconds in which what lasts is told once. The watch sees a split-brain again every few seconds.
ONCE_WITHIN = {SPLIT_BRAIN: 3600.0}

#: Programs of ours in the folder of the hooks begin with this: a pair names those that it wants.
SHIPPED = "failback-"
HOOKS = ("mail", "salt-event", "webhook")

#: What editors and packages leave beside a file is no hook.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LEFTOVER = re.compile(r".*(\.dpkg-[a-z]+|\.ucf-[a-z]+|\.rpm[a-z]+|\.bak|\.orig|\.old|\.swp)")

#: Characters of a sentence that are told. All of an event is one word of a command line.
LONGEST_SENTENCE = 4000

_OTHERS, _EXECUTABLE = 0o022, 0o111


def event(kind, config, now, sentence, ledger=None, **more):
    """
    One event.

    kind
        One of ``ALL``.

    config
        The node's configuration of the pair.

    now
        Seconds since the epoch.

    sentence
        What has happened, for people.

    ledger
        This node's ledger, or None where it cannot be read.

    more
        Such as ``run`` or ``reason``; what is None is left out.

    Returns a dict.
    """
    nodes = [config[role]["id"] for role in ("primary", "secondary")]
    node = config["node"]
    return {
        "version": VERSION,
        "event": kind,
        "severity": SEVERITY[kind],
        "pair": config["name"],
        "node": node,
        "role": "primary" if node == nodes[0] else "secondary",
        "peer": nodes[1] if node == nodes[0] else nodes[0],
        "time": now,
        "sentence": sentence[:LONGEST_SENTENCE],
        "active": ledger["active"] if ledger else None,
        "generation": ledger["generation"] if ledger else None,
        **{key: value for key, value in more.items() if value is not None},
    }


def is_wanted(config, kind):
    """Whether the pillar wants to hear of such events."""
    return kind in (config.get("notify") or {}).get("events", ALL)


def is_told_already(kind, last, now):
    """
    Whether an event that lasts was told a short while ago.

    last
        When it was told last, by the same clock as ``now``; None for never.
    """
    within = ONCE_WITHIN.get(kind)
    return within is not None and last is not None and 0 <= now - last < within


def environment(told, config):
    """
    The variables that a hook finds beside those of every program.

    told
        An event.

    Returns a dict of text; what is not known is empty.
    """
    keys = ("event", "severity", "pair", "node", "role", "peer", "active", "generation", "run", "sentence")
    found = {f"FAILBACK_{key.upper()}": told.get(key) for key in keys}
    found["FAILBACK_TIME"] = round(told["time"])
    found["FAILBACK_MAIL"] = " ".join((config.get("notify") or {}).get("mail", ()))
    # No program can be given a zero byte.
    return {key: "" if value is None else str(value).replace("\0", "") for key, value in found.items()}


def is_chosen(name, config):
    """
    Whether a file in the folder of the hooks is one that this pair is to run, by its name.

    The site's own always are, but for what editors and packages leave behind.
    """
    if name.startswith(SHIPPED):
        return name[len(SHIPPED) :] in (config.get("notify") or {}).get("hooks", ())
    return bool(_NAME.fullmatch(name)) and not _LEFTOVER.fullmatch(name)


def hook_problem(above, hook):
    """
    Why a hook must not run, a sentence; or None. It runs as root, so nobody else may choose what it is.

    above
        :py:class:`failback.decisions.ownership.Entry` of each folder on the way to it.

    hook
        That of the hook itself.
    """
    if hook.kind == "link":
        return f"{hook.path} is a link, and what it leads to may be another's. Put a copy there."
    if hook.kind != "file":
        return f"{hook.path} is no file."
    for entry in (*above, hook):
        if entry.uid != 0 or entry.mode & _OTHERS:
            return (
                f"{entry.path} is not root's alone (uid {entry.uid}, mode {entry.mode & 0o7777:04o}), so "
                f"somebody else could choose what runs as root. Run: chown root: {shlex.quote(entry.path)} "
                f"&& chmod go-w {shlex.quote(entry.path)}"
            )
    if not hook.mode & _EXECUTABLE:
        return f"{hook.path} is not executable. Run: chmod +x {shlex.quote(hook.path)}"
    return None
