"""Repositories are pushed, never forced. With real git; only ssh is replaced, by the peer itself."""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

import pytest
import samples

from failback.errors import Refused
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
from failback.errors import FailbackError
from failback.host import owner
become, of_repository = owner.become, owner.of_repository
owner.become = lambda user, words: become(user, [*words[:-1], {other!r} + words[-1]])
owner.of_repository = lambda path, **more: of_repository({other!r} + path, **more)
verb, repository = peer_requests.parse(" ".join(sys.argv[-2:]))
try:
    peer_requests.receive_pack(Member.of({{"git": {git!r}, "name": "salt", "node": "salt1"}}), repository)
except FailbackError as error:
    sys.exit(f"failback: {{error}}")
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
        monkeypatch.setattr(git_push.ssh, "command", lambda member: [str(ssh)])

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


# --- whoever owns a repository chooses what git runs: as himself -----------------------------------

ANNA = 54321


@pytest.fixture
def reachable():
    """A folder that any user gets into."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield pathlib.Path(folder)


@pytest.fixture
def annas(reachable, monkeypatch):
    """Both repositories are Anna's, with a hook of hers in each and programs in the configuration."""
    if os.geteuid():
        pytest.skip("root alone can become somebody else")
    world = World(reachable, monkeypatch)
    world.commit("one")
    notes = reachable / "notes"
    notes.mkdir()
    for repository, hook in ((world.here, "pre-push"), (world.there, "post-receive")):
        program = repository / "hooks" / hook
        program.write_text(f'#!/bin/sh\n{{ id -u; id -G; env; ls -l /proc/$$/fd; }} > "{notes}/{hook}"\n')
        program.chmod(0o755)
        git(repository, "config", "core.fsmonitor", f"touch {notes}/fsmonitor; id -u > {notes}/fsmonitor")
    for folder in (world.here, world.there, notes):
        subprocess.run(["chown", "-R", f"{ANNA}:{ANNA}", str(folder)], check=True)
    world.notes = notes
    return world


def test_what_a_repository_names_runs_as_its_owner_on_both_nodes(annas, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_COUNT", "0")
    monkeypatch.setenv("SECRET_OF_ROOT", "1")
    assert annas.push()["pushed"] == ["refs/heads/main"]
    for hook in ("pre-push", "post-receive"):
        uid, groups, *rest = (annas.notes / hook).read_text().splitlines()
        assert (uid, groups) == (str(ANNA), str(ANNA)), hook
        assert "SECRET_OF_ROOT=1" not in rest and "HOME=/nonexistent" in rest
        assert not [line for line in rest if "GIT_CONFIG_COUNT=0" in line or "id_ed25519" in line]
    assert all(path.stat().st_uid == ANNA for path in annas.there.rglob("*"))
    assert not (annas.notes / "fsmonitor").exists() or (annas.notes / "fsmonitor").read_text() == f"{ANNA}\n"


def test_root_s_key_is_read_by_root_s_ssh_alone(annas, reachable):
    """The program that stands for ssh notes who it is; the owner's git never starts one."""
    script = (reachable / "ssh").read_text()
    mark = f"import os\nopen({str(reachable / 'as')!r}, 'a').write(str(os.getuid()) + ' ')\n"
    (reachable / "ssh").write_text(script.replace("\n", "\n" + mark, 1))
    for name, value in (("core.sshCommand", "id -u > /dev/null"), ("url.x:.pushInsteadOf", "fd::")):
        git(annas.here, "config", "--file", str(annas.here / "config"), name, value)
    with contextlib.suppress(Unavailable):  # it is her own push that she has led astray
        annas.push()
    assert (reachable / "as").read_text() == "0 "


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: os.chmod(one / "config", 0o666), "others may write to .*/config"),
        (lambda one: os.chmod(one / "hooks", 0o777), "others may write to .*/hooks"),
        (lambda one: os.chown(one / "config", ANNA, ANNA), "config belongs to uid 54321"),
        (lambda one: os.chown(one.parent, ANNA, ANNA), "on the way to it belongs to uid 54321"),
        (lambda one: os.chmod(one.parent, 0o777), "on the way to it"),
        (lambda one: os.chmod(one, 0o775), "others may write to"),
    ],
)
@pytest.mark.parametrize("side", ["here", "there"])
def test_a_repository_of_root_s_that_others_may_write_to_is_refused(world, tmp_path, side, change, said):
    if os.geteuid():
        pytest.skip("root alone can give files away")
    world.commit("one")
    repository = getattr(world, side)
    hook = repository / "hooks" / ("pre-push" if side == "here" else "post-receive")
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    change(repository)
    with pytest.raises((Refused, Unavailable), match=rf"is left alone: .*{said}.*Run there: ch"):
        world.push()
    assert not (tmp_path / "ran").exists()


def test_a_hook_that_never_ends_and_talks_without_end_costs_its_owner_the_push(annas, monkeypatch):
    monkeypatch.setattr(git_push, "PUSH_LIMIT", 1)
    monkeypatch.setattr(git_push.owner, "KEPT", 1000)
    (annas.here / "hooks/pre-push").write_text("#!/bin/sh\nexec yes >&2\n")
    with pytest.raises(Unavailable, match="no end within 1 seconds"):
        annas.push()


def test_a_repository_that_takes_long_keeps_no_other_waiting_and_is_not_pushed_twice_at_once(
    tmp_path, monkeypatch
):
    member = Member.of(
        samples.pair("salt2", git=["/srv/git/slow", "/srv/git/quick"]), Paths(tmp_path / "node")
    )
    member.ledger.write(ledger.Entry(4, "salt2", None, "a test"))
    quick, again = threading.Event(), []

    def push(member, repository):
        if repository.endswith("slow"):
            assert quick.wait(20)
            again.append(git_push.carry(member))  # what cron starts a minute later
            raise Unavailable("it takes long")
        quick.set()
        return {"repository": repository, "pushed": ["refs/heads/main"], "diverged": [], "unchanged": 0}

    monkeypatch.setattr(git_push, "push", push)
    monkeypatch.setattr(system, "log", lambda sentence, *_: None)
    said = git_push.carry(member)
    assert "it takes long" in said and "/srv/git/quick: refs/heads/main pushed" in said
    assert again == [None]


def test_a_run_pushes_what_it_can_before_it_says_what_failed(tmp_path, monkeypatch):
    config = samples.pair("salt2", git=["/srv/git/bad", "/srv/git/good"])
    done = []

    def push(member, repository):
        if repository.endswith("bad"):
            raise Unavailable("it takes long")
        done.append(repository)

    monkeypatch.setattr(git_push, "push", push)
    with pytest.raises(Unavailable, match="it takes long"):
        git_push.require_pushed(Member.of(config, Paths(tmp_path)))
    assert done == ["/srv/git/good"]


def test_what_a_repository_says_is_printable(annas):
    (annas.here / "hooks/pre-push").write_text("#!/bin/sh\nprintf 'a\\033]0;b\\007\\nc' >&2\nexit 1\n")
    with pytest.raises(Unavailable) as caught:
        annas.push()
    assert str(caught.value).isprintable()


# --- what does not go as it should --------------------------------------------------------------------


def test_a_pair_without_repositories_pushes_nothing(tmp_path):
    member = Member.of(samples.pair("salt2", git=[]), Paths(tmp_path))
    assert git_push.push_all(member) == [] and git_push.require_pushed(member) == []


def test_without_ssh_nothing_is_pushed_and_nothing_is_left_open(world, monkeypatch):
    world.commit("one")
    monkeypatch.setattr(git_push.ssh, "command", lambda member: ["/nonexistent/ssh"])
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Unavailable, match="Cannot push .*: ssh: .*No such file or directory"):
        world.push()
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_ssh_that_does_not_end_is_ended(world, tmp_path, monkeypatch):
    """The other node has lost its power after the last answer."""
    world.commit("one")
    slow = tmp_path / "slow"
    slow.write_text(f'#!/bin/sh\n"{tmp_path}/ssh" "$@"\necho $$ > "{tmp_path}/pid"\nexec sleep 61 <&- >&-\n')
    slow.chmod(0o755)
    monkeypatch.setattr(git_push.ssh, "command", lambda member: [str(slow)])
    monkeypatch.setattr(git_push, "HANG_UP", 0.5)
    assert world.push()["pushed"] == ["refs/heads/main"]
    assert not os.path.exists(f"/proc/{(tmp_path / 'pid').read_text().strip()}")


@pytest.mark.parametrize(
    ("references", "words"),
    [
        ((128, "", "fatal: bad object"), "Cannot read the references of .*: exit status 128, fatal: bad"),
        ((0, "abc commit refs/heads/main\n", ""), "Cannot push .*: git named no reference, hello"),
        ((0, "\n", ""), None),
    ],
)
def test_a_push_that_names_nothing_is_one_of_nothing_or_none(world, monkeypatch, references, words):
    """With status 0: git may have ended before it began."""
    answers = iter([(0, "", "hello"), references])
    monkeypatch.setattr(git_push.owner, "run", lambda *_: next(answers))
    if words is None:
        assert world.push()["pushed"] == []
        return
    with pytest.raises(Unavailable, match=words):
        world.push()


def test_each_is_tried_and_the_first_that_failed_is_said(tmp_path, monkeypatch):
    tried = []

    def push(member, repository):
        tried.append(repository)
        if repository != "/srv/git/b.git":
            raise Unavailable(f"{repository} failed")
        return {"repository": repository}

    monkeypatch.setattr(git_push, "push", push)
    names = [f"/srv/git/{name}.git" for name in "abc"]
    member = Member.of(samples.pair("salt2", git=names), Paths(tmp_path))
    with pytest.raises(Unavailable, match="a.git failed"):
        git_push.require_pushed(member)
    assert sorted(tried) == names
    assert [(name, bool(error)) for name, _, error in git_push.push_all(member)] == [
        (names[0], True),
        (names[1], False),
        (names[2], True),
    ]
    member.config["git"] = names[1:2]
    assert git_push.require_pushed(member) == [{"repository": names[1]}]


@pytest.mark.parametrize(
    ("done", "sentence"),
    [
        ({"pushed": [], "diverged": []}, None),
        ({"pushed": ["refs/heads/a", "refs/heads/b"], "diverged": []}, "refs/heads/a, refs/heads/b pushed"),
        ({"pushed": [], "diverged": ["refs/heads/a"]}, "refs/heads/a is left alone on salt1."),
    ],
)
def test_what_was_pushed_is_said_once(tmp_path, monkeypatch, done, sentence):
    member = Member.of(samples.pair("salt2", git=["/srv/git/a.git"]), Paths(tmp_path))
    member.ledger.write(ledger.Entry(4, "salt2", None, "a test"))
    logged = []
    monkeypatch.setattr(git_push.system, "log", logged.append)
    monkeypatch.setattr(git_push, "push", lambda *_: done)
    said = [git_push.carry(member) for _ in range(2)]
    assert said[0] == said[1]
    assert (sentence in said[0]) if sentence else said[0] is None
    assert logged == [one for one in said[:1] if one]
    # What has changed is said again, and so is what then comes once more.
    monkeypatch.setattr(git_push, "push", lambda *_: {"pushed": ["refs/tags/v1"], "diverged": []})
    git_push.carry(member)
    monkeypatch.setattr(git_push, "push", lambda *_: done)
    git_push.carry(member)
    assert len(logged) == (3 if sentence else 1)
