"""
The pair's bare repositories: pushed to the other node, never copied file by file.

From the active node to the standby every minute, by cron and without a master (``carry``); back to a
returned primary by ``orch.recover`` (``push``).
"""

from failback.errors import FailbackError
from failback.errors import Unavailable
from failback.host import files
from failback.host import system
from failback.peer import answers
from failback.state import ledger

#: Seconds for one push.
PUSH_LIMIT = 600


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
    reported.

    Returns ``{"repository", "pushed": [...], "diverged": [...], "unchanged": n}``. Raises
    ``Unavailable`` when the push could not be made at all.
    """
    host = member.peer["host"]
    try:
        text = system.run(
            [
                "git",
                "-c",
                "safe.directory=*",
                "--git-dir",
                repository,
                "push",
                "--porcelain",
                f"{host}:{repository}",
                "refs/heads/*:refs/heads/*",
                "refs/tags/*:refs/tags/*",
            ],
            PUSH_LIMIT,
            f"push {repository} to {host}",
            env={"GIT_SSH_COMMAND": f"/usr/bin/ssh -F {member.paths.ssh_config}", "GIT_SSH_VARIANT": "ssh"},
            # A refused reference makes the whole push exit with 1; the lines say which.
            accept=(0, 1),
        )
    except FailbackError as error:
        raise Unavailable(f"{error}{answers.advice(str(error), member.peer['id'])}") from error
    found = parse_porcelain(text)
    if not found and not _references(repository):
        # A repository without a commit has nothing to push.
        return {"repository": repository, "pushed": [], "diverged": [], "unchanged": 0}
    if not found:
        raise Unavailable(f"git said nothing about the references of {repository}: {text[:300]!r}")
    return {
        "repository": repository,
        "pushed": [one["reference"] for one in found if one["flag"] in " *"],
        "diverged": [f"{one['reference']} {one['summary']}" for one in found if one["flag"] == "!"],
        "unchanged": sum(one["flag"] == "=" for one in found),
    }


def _references(repository):
    """Has a repository any reference at all?"""
    return system.run(
        ["git", "-c", "safe.directory=*", "--git-dir", repository, "for-each-ref", "--count=1"],
        30,
        f"read the references of {repository}",
    ).strip()


def carry(member):
    """
    Push the repositories to the standby, if this node is the active one.

    What happened is said in the system's log when it differs from the last time: a standby that is off
    for a night is one line, not hundreds.

    Returns that sentence, or None when this node is not active or nothing was to be pushed.
    """
    pair, node = member.pair, member.node
    own = member.ledger.read()
    if not ledger.is_active(own, node):
        return None
    said = []
    for repository in member.config["git"]:
        try:
            done = push(member, repository)
        except FailbackError as error:
            said.append(str(error))
            continue
        other = member.peer["id"]
        if done["pushed"]:
            said.append(f"{repository}: {', '.join(done['pushed'])} pushed to {other}.")
        if done["diverged"]:
            said.append(f"{repository}: {', '.join(done['diverged'])} is left alone on {other}.")
    sentence = " ".join(said) or None
    before = (
        files.read_json(member.paths.volatile(pair) / "git.json", "what was said of the repositories") or {}
    )
    if sentence != before.get("sentence"):
        files.write_json(member.paths.volatile(pair) / "git.json", {"sentence": sentence})
        if sentence:
            system.log(sentence)
    return sentence
