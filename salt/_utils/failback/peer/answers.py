"""
The other node's answer amid what root's shell prints there.

sshd runs each command, the forced one too, by root's login shell, and bash reads ``/root/.bashrc`` then. An
``echo`` in it comes before every answer. An answer is one JSON object on one line, the last one: that is its
marker. So it is found whatever stands around it, and no release has to change what it sends.

The protocols of rsync and git cannot be read past such a line. There it is named (:func:`advice`).
"""

import json

#: What rsync and git say when something else than the other side comes first.
SPOILT = ("rather than greeting", "bad line length", "protocol version mismatch", "is your shell clean")

#: The most of the noise that a sentence quotes.
QUOTED = 200


def object_in(text, *keys):
    """
    The last JSON object of a text that has all of some keys; None if there is none.

    text
        What was printed there, text or bytes: whole lines.
    """
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    for line in reversed(text.splitlines()):
        # What was printed without an end of line stands before it on the same one.
        start = line.find("{")
        while start >= 0:
            found = _object_at(line, start)
            if found is not None and all(key in found for key in keys):
                return found
            start = line.find("{", start + 1)
    return None


def _object_at(line, start):
    try:
        found, _ = json.JSONDecoder().raw_decode(line, start)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def last_line(text):
    """The last line of an answer that is a sentence: what a shell prints comes before it."""
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def unreadable(text, other):
    """The sentence for an answer in which there is none."""
    return (
        f"{other} sent no answer that can be read, but {text[:QUOTED].strip()!r}: root's shell there prints "
        f"that to whoever comes over SSH, or another program answers. See what `salt-call state.apply "
        f"pair.access` says on {other}"
    )


def advice(said, other):
    """What to add to the words of rsync or git when the other node's shell has spoken first; empty else."""
    if not any(one in said for one in SPOILT):
        return ""
    return (
        f" A login shell on {other} prints something before it starts what SSH asks for. Look at the files "
        f"that it reads then, /root/.bashrc first; `salt-call state.apply pair.access` there names the line."
    )
