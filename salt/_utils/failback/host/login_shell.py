"""
Whether a login shell keeps silent when sshd starts it, as rsync and git over SSH need it: root's, most often.

sshd runs a forced command by the login shell, too. bash then reads ``/etc/bash.bashrc`` and ``/root/.bashrc``
(where it is built with SSH_SOURCE_BASHRC; the latter may read ``/etc/bashrc``), and zsh its ``zshenv``.
"""

import os
import pwd
import re
import subprocess

from failback.errors import Unavailable

#: Seconds for the shell to start and end.
LIMIT = 10

#: What may be read before a command, in the order in which it is looked through.
FILES = (
    "{home}/.bashrc",
    "/etc/bash.bashrc",
    "/etc/bashrc",
    "{home}/.zshenv",
    "/etc/zsh/zshenv",
)


def noise(user="root", limit=LIMIT):
    """
    What a user's shell prints when sshd starts it for a command that prints nothing.

    limit
        Seconds for it to end.

    Returns None for a shell that keeps silent, else ``line``, the first one, and ``file``, the one likely to
    blame or None. Raises ``Unavailable`` for a shell that cannot be started or does not end.
    """
    try:
        account = pwd.getpwnam(user)
    except KeyError as error:
        raise Unavailable(f"There is no account {user}: highstate makes it.") from error
    shell = account.pw_shell or "/bin/sh"
    as_it = user != "root" and os.geteuid() == 0
    # As sshd sets it; SSH_CLIENT tells bash that it is run by sshd. SHLVL must not be there.
    environment = {
        "HOME": account.pw_dir,
        "USER": user,
        "LOGNAME": user,
        "SHELL": shell,
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SSH_CLIENT": "192.0.2.1 1 22",
        "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22",
    }
    try:
        done = subprocess.run(
            [shell, "-c", "true"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=limit,
            cwd=account.pw_dir,
            env=environment,
            check=False,
            # What it reads is this account's: it is not run as root.
            user=account.pw_uid if as_it else None,
            group=account.pw_gid if as_it else None,
            extra_groups=[] if as_it else None,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(
            f"The shell of {user} ({shell}) does not end within {limit} s when sshd starts it: something in "
            f"what it reads then waits, and no command over SSH begins. Look at {account.pw_dir}/.bashrc."
        ) from error
    except OSError as error:
        raise Unavailable(f"The shell of {user} ({shell}) cannot be started: {error.strerror}.") from error
    lines = [line for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
    if not done.stdout:
        return None
    line = lines[0].strip() if lines else "an empty line"
    return {"line": line, "file": to_blame(line, [one.format(home=account.pw_dir) for one in FILES])}


def to_blame(line, paths):
    """
    The file of some that has most likely printed a line: the first that has its longest word, else the first
    that prints anything at all; None if there is none.
    """
    texts = {}
    for path in paths:
        try:
            with open(path, errors="replace") as handle:
                texts[path] = handle.read()
        except OSError:
            continue
    word = max(re.findall(r"\w+", line), key=len, default="")
    texts = {path: _commands(text) for path, text in texts.items()}
    with_word = [path for path, text in texts.items() if word and word in text]
    prints = [path for path, text in texts.items() if re.search(r"\b(echo|printf|cat|print)\b", text)]
    return next(iter([*with_word, *prints]), None)


def _commands(text):
    """A script without its comments."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def sentence(found, node, user="root"):
    """What is wrong with a shell that does not keep silent, why that is dangerous, and what to do."""
    where = found["file"] or "a file that it reads then"
    return (
        f"The shell of {user} on {node} prints {found['line']!r} when sshd starts it for a command. lsyncd, "
        f"rsync and git over SSH take that for an answer and fail, so nothing is carried to {node}. It is "
        f"most likely {where}: print only where there is a terminal, `[ -t 1 ] || return` at its top. Then "
        f"run this again."
    )
