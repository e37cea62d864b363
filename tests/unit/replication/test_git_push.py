"""Repositories are pushed, never forced. With real git; only ssh is replaced, by the peer itself."""

import os
import pathlib
import shlex
import subprocess
import sys

import pytest
import samples

from failback.errors import Unavailable
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.replication import git_push
from failback.state import ledger

TREE = system.PACKAGE.parent

#: In place of ssh: what sshd would run for the pair's key, with the other node's folder as root.
SSH = """#!{python}
import os, sys
sys.path.insert(0, {tree!r})
from failback import peer_requests
from failback.pair import Member
if os.path.exists({down!r}):
    sys.exit(255)
real = os.execv
os.execv = lambda program, words: real(program, [*words[:-1], {other!r} + words[-1]])
verb, repository = peer_requests.parse(sys.argv[-1])
peer_requests.receive_pack(Member.of({{"git": {git!r}, "name": "salt"}}), repository)
"""


def git(folder, *words):
    identity = ["-c", "user.name=anna", "-c", "user.email=anna@example.org"]
    done = subprocess.run(
        ["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True, timeout=30
    )
    return done.stdout.strip()


class World:
    """A bare repository on each of the two nodes, of the same name, and a clone to commit in."""

    def __init__(self, folder, monkeypatch):
        self.here = folder / "salt2/srv/git/site.git"
        # Both nodes live in one tree here, so the peer's path is this node's below a folder.
        self.other = folder / "salt1"
        self.there = pathlib.Path(f"{self.other}{self.here}")
        for one in (self.here, self.there):
            one.mkdir(parents=True)
            git(one, "init", "--quiet", "--bare")
        self.clone = folder / "clone"
        git(folder, "clone", "--quiet", str(self.here), str(self.clone))
        self.down = folder / "down"
        self.logged = []
        ssh = folder / "ssh"
        ssh.write_text(
            SSH.format(
                python=sys.executable,
                tree=str(TREE),
                down=str(self.down),
                other=str(self.other),
                git=[str(self.here)],
            )
        )
        ssh.chmod(0o755)
        real = system.run

        def run(argv, timeout, what, env=None, **rest):
            if env is None:  # a look at the repository here
                return real(argv, timeout, what, **rest)
            assert env["GIT_SSH_COMMAND"].startswith("/usr/bin/ssh -F ")
            env = {**env, "GIT_SSH_COMMAND": shlex.quote(str(ssh))}
            return real(argv, timeout, what, env=env, **rest)

        monkeypatch.setattr(system, "run", run)

    def commit(self, text, branch="main", to=None):
        git(self.clone, "checkout", "--quiet", "-B", branch)
        git(self.clone, "commit", "--quiet", "--allow-empty", "-m", text)
        git(self.clone, "push", "--quiet", "--force", str(to or self.here), f"HEAD:refs/heads/{branch}")

    def push(self):
        config = samples.pair("salt2", git=[str(self.here)])
        return git_push.push(Member.of(config, Paths("/nowhere")), str(self.here))

    def references(self, repository):
        return git(repository, "for-each-ref", "--format=%(refname) %(objectname)")


@pytest.fixture
def world(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    return World(tmp_path, monkeypatch)


def test_new_branches_and_tags_arrive(world):
    world.commit("one")
    world.commit("two", branch="topic")
    git(world.clone, "tag", "v1")
    git(world.clone, "push", "--quiet", str(world.here), "v1")
    found = world.push()
    assert found["pushed"] == ["refs/heads/main", "refs/heads/topic", "refs/tags/v1"]
    assert found["diverged"] == [] and found["repository"] == str(world.here)
    assert world.references(world.there) == world.references(world.here)


@pytest.mark.parametrize(
    "name",
    ["a b", "a'b", 'a"b', "a'\"b", "a$(touch was-here)", "a`touch was-here`", "a;touch was-here", "-rf"]
    + ["a\\b", "a%sb", "a*b", "~", "ünï"],
)
def test_a_repository_whose_path_a_shell_would_take_for_more(tmp_path, monkeypatch, name):
    for variable in [one for one in os.environ if one.startswith("GIT_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    world = World(tmp_path / name, monkeypatch)
    world.commit("one")
    assert world.push()["pushed"] == ["refs/heads/main"]
    assert world.references(world.there) == world.references(world.here)
    assert not list(tmp_path.rglob("was-here"))


def test_a_second_push_changes_nothing(world):
    world.commit("one")
    world.push()
    assert world.push() == {
        "repository": str(world.here),
        "pushed": [],
        "diverged": [],
        "unchanged": 1,
    }


def test_a_branch_that_has_diverged_is_reported_and_left_alone_and_the_others_go(world):
    world.commit("common")
    world.push()
    common = git(world.clone, "rev-parse", "HEAD")
    world.commit("written on the primary before it died", to=world.there)
    git(world.clone, "reset", "--quiet", "--hard", common)
    world.commit("written on the secondary")
    world.commit("another", branch="topic")
    before = git(world.there, "rev-parse", "main")
    found = world.push()
    assert found["pushed"] == ["refs/heads/topic"]
    assert len(found["diverged"]) == 1 and found["diverged"][0].startswith("refs/heads/main ")
    assert git(world.there, "rev-parse", "main") == before


def test_a_branch_that_is_only_there_is_not_deleted(world):
    world.commit("one")
    world.push()
    world.commit("two", branch="only-there", to=world.there)
    world.push()
    assert "refs/heads/only-there" in world.references(world.there)


def test_a_repository_without_a_commit_is_nothing_to_push_and_no_failure(world):
    found = world.push()
    assert (found["pushed"], found["diverged"], found["unchanged"]) == ([], [], 0)


def test_a_node_that_cannot_be_reached_is_a_failure(world):
    world.commit("one")
    world.down.touch()
    with pytest.raises(Unavailable, match="push .*site.git"):
        world.push()


def test_a_repository_that_is_missing_there_is_a_failure(world):
    world.commit("one")
    world.there.rename(world.there.parent / "moved")
    with pytest.raises(Unavailable):
        world.push()


def test_a_repository_that_is_missing_here_is_a_failure(world):
    world.here.rename(world.here.parent / "moved")
    with pytest.raises(Unavailable):
        world.push()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("*\trefs/heads/a:refs/heads/a\t[new branch]", ("*", "refs/heads/a", "[new branch]")),
        (" \trefs/heads/a:refs/heads/a\t1234..5678", (" ", "refs/heads/a", "1234..5678")),
        ("=\trefs/tags/v1:refs/tags/v1\t[up to date]", ("=", "refs/tags/v1", "[up to date]")),
        (
            "!\trefs/heads/a:refs/heads/a\t[rejected] (non-fast-forward)",
            ("!", "refs/heads/a", "[rejected] (non-fast-forward)"),
        ),
        ("To salt1:/srv/git/site.git", None),
        ("Done", None),
        ("", None),
    ],
)
def test_what_git_prints_is_read(line, found):
    read = git_push.parse_porcelain(f"{line}\n")
    assert [tuple(one.values()) for one in read] == ([found] if found else [])


# --- every minute, from the active node ----------------------------------------------------------


@pytest.fixture
def carry(world, tmp_path, monkeypatch):
    """What cron runs on salt2, and the lines that it logs."""
    member = Member.of(samples.pair("salt2", git=[str(world.here)]), Paths(tmp_path / "node"))
    monkeypatch.setattr(system, "log", lambda sentence, *_: world.logged.append(sentence))

    def run(active="salt2", admitted=True):
        member.ledger.path.unlink(missing_ok=True)
        member.ledger.write(ledger.Entry(4, active, None, "a test", admitted))
        return git_push.carry(member)

    return run


def test_the_active_node_carries_its_commits_to_the_standby(world, carry):
    world.commit("one")
    assert "refs/heads/main pushed to salt1" in carry()
    assert world.references(world.there) == world.references(world.here)
    assert carry() is None and len(world.logged) == 1


@pytest.mark.parametrize(("active", "admitted"), [("salt1", True), ("salt2", False)])
def test_a_node_that_is_not_active_pushes_nothing(world, carry, active, admitted):
    world.commit("one")
    assert carry(active, admitted) is None
    assert world.references(world.there) == ""


def test_a_standby_that_is_off_is_one_line_in_the_log(world, carry):
    world.commit("one")
    world.down.touch()
    first = carry()
    assert "255" in first or "128" in first
    assert carry() == first and world.logged == [first]
    world.down.unlink()
    carry()
    assert world.references(world.there) == world.references(world.here)
