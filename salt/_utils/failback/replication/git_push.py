"""
The pair's bare repositories: pushed to the other node, never copied file by file.

From the active node to the standby every minute, by cron and without a master (``carry``); back to a
returned primary by ``orch.recover`` (``push``).
"""

import concurrent.futures
import contextlib
import shlex
import socket
import subprocess

from failback.errors import FailbackError
from failback.errors import Unavailable
from failback.host import files
from failback.host import owner
from failback.host import system
from failback.peer import answers
from failback.peer import ssh
from failback.state import ledger

#: Seconds for one push.
PUSH_LIMIT = 600

#: Seconds for ssh to end once git has.
HANG_UP = 10

#: Pushes at the same time; sshd takes ten connections that have not said who they are.
PARALLEL = 4


def parse_porcelain(text):
    """
    Read what ``git push --porcelain`` prints (git-push(1), OUTPUT). Pure.

    Returns a list of ``{"flag", "reference", "summary"}``; the flag is a space for a fast-forward,
    ``*`` for a new reference, ``=`` for one already there, ``!`` for one refused.
    """
    found = []
    for line in text.splitlines():
        if line[1:2] != "\t":
            continue
        flag, references, summary = line.split("\t", 2)
        found.append({"flag": flag, "reference": references.partition(":")[2], "summary": summary})
    return found


def push(member, repository):
    """
    Push all branches and tags of a bare repository to the same place on the other node.

    Nothing is forced and nothing is deleted there: a reference that has diverged is left alone and
    reported. git runs as the owner of the repository; root makes the SSH connection and gives git its end of
    it (git-remote-fd(1)). So nobody but root reads the pair's key, and root runs none of the programs that
    a repository names.

    Returns ``{"repository", "pushed": [...], "diverged": [...], "unchanged": n}``. Raises
    ``Unavailable`` when the push could not be made at all, and ``Refused`` for a repository in which others
    than its owner could choose what git runs.
    """
    host, node = member.peer["host"], member.node
    what = f"push {repository} to {host}"
    user = owner.of_repository(repository, node=node)
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(_Connection(member, repository, what))
        status, text, said = owner.run(
            user, _push_command(repository, connection, host), PUSH_LIMIT, what, *connection.given()
        )
        there = connection.close()
    # A refused reference makes the whole push exit with 1; the lines say which.
    if status not in (0, 1):
        both = f"{said} {there}"
        more = answers.advice(both, member.peer["id"])
        raise Unavailable(f"Cannot {what}: exit status {status}, {owner.said(both)}.{more}")
    found = parse_porcelain(text)
    if not found and not _references(user, repository):
        # A repository without a commit has nothing to push.
        return {"repository": repository, "pushed": [], "diverged": [], "unchanged": 0}
    if not found:
        raise Unavailable(
            f"Cannot {what}: git named no reference, {owner.said(f'{text[:300]} {said} {there}')}."
        )
    return {
        "repository": repository,
        "pushed": [owner.said(one["reference"]) for one in found if one["flag"] in " *"],
        "diverged": [
            owner.said(f"{one['reference']} {one['summary']}") for one in found if one["flag"] == "!"
        ],
        "unchanged": sum(one["flag"] == "=" for one in found),
    }


def push_all(member):
    """
    :py:func:`push` of all repositories of the pair at the same time: the owner of one keeps no other waiting.

    Returns a list of ``(repository, result or None, FailbackError or None)`` in the order of the pillar.
    """

    def one(repository):
        try:
            return repository, push(member, repository), None
        except FailbackError as error:
            return repository, None, error

    repositories = member.config["git"]
    if not repositories:
        return []
    with concurrent.futures.ThreadPoolExecutor(min(len(repositories), PARALLEL)) as pool:
        return list(pool.map(one, repositories))


def require_pushed(member):
    """:py:func:`push_all` for a run: the results, or the first error once all have been tried."""
    done = push_all(member)
    for _, _, error in done:
        if error:
            raise error
    return [result for _, result, _ in done]


def _push_command(repository, connection, host):
    return [
        "git",
        "-c",
        "protocol.fd.allow=always",
        "--git-dir",
        repository,
        "push",
        "--porcelain",
        # What follows the slash is for people alone.
        f"fd::{connection.number}/{host}",
        "refs/heads/*:refs/heads/*",
        "refs/tags/*:refs/tags/*",
    ]


class _Connection:
    """
    The SSH connection over which git speaks to the other node's ``git-receive-pack``. A context manager.

    It is a socket, which git can close in one direction although its children have it open as well: with
    pipes the other node would wait for ever for a push of nothing.
    """

    def __init__(self, member, repository, what):
        self._end, there = socket.socketpair()
        try:
            self._ssh = subprocess.Popen(
                [*ssh.command(member), "--", "git-receive-pack", shlex.quote(repository)],
                stdin=there,
                stdout=there,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            self._end.close()
            raise Unavailable(f"Cannot {what}: ssh: {error}.") from error
        finally:
            there.close()
        self._words = owner.Reader(self._ssh.stderr)
        self._text = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def number(self):
        """The file descriptor of git's end."""
        return self._end.fileno()

    def given(self):
        """The last arguments of :py:func:`failback.host.owner.run`: git's end, which is closed here then."""
        return (self.number,), self._end.close

    def close(self):
        """End it, and return what ssh and the other node have said beside git."""
        self._end.close()
        if self._text is None:
            try:
                self._ssh.wait(HANG_UP)
            except subprocess.TimeoutExpired:
                self._ssh.kill()
                self._ssh.wait()
            self._text = self._words.text(HANG_UP)
        return self._text


def _references(user, repository):
    """Has a repository any reference at all?"""
    what = f"read the references of {repository}"
    command = ["git", "--git-dir", repository, "for-each-ref", "--count=1"]
    status, text, said = owner.run(user, command, 30, what)
    if status:
        raise Unavailable(f"Cannot {what}: exit status {status}, {owner.said(said)}.")
    return text.strip()


def carry(member):
    """
    Push the repositories to the standby, if this node is the active one.

    What happened is said in the system's log when it differs from the last time: a standby that is off
    for a night is one line, not hundreds.

    Returns that sentence, or None when this node is not active, nothing was to be pushed, or an earlier one
    is still at work.
    """
    own = member.ledger.read()
    if not ledger.is_active(own, member.node):
        return None
    with files.locked_at_once(member.volatile / "git.flock") as first:
        # Cron starts one every minute; a repository whose owner lets it take longer gets no second one.
        return _carried(member) if first else None


def _carried(member):
    said = []
    for repository, done, error in push_all(member):
        if error:
            said.append(str(error))
            continue
        other = member.peer["id"]
        if done["pushed"]:
            said.append(f"{repository}: {', '.join(done['pushed'])} pushed to {other}.")
        if done["diverged"]:
            said.append(f"{repository}: {', '.join(done['diverged'])} is left alone on {other}.")
    sentence = " ".join(said) or None
    before = files.read_json(member.volatile / "git.json", "what was said of the repositories") or {}
    if sentence != before.get("sentence"):
        files.write_json(member.volatile / "git.json", {"sentence": sentence})
        if sentence:
            system.log(sentence)
    return sentence
