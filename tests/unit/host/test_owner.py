"""Whose a repository is, judged by what is really entered, and how a process becomes its owner."""

import os
import pathlib
import pwd
import tempfile
import time
import types

import pytest

from failback.decisions import ownership
from failback.errors import Refused
from failback.errors import Unavailable
from failback.host import owner

ANNA = owner.User(54321, 54322, (54322, 7), "anna", "/home/anna")


# --- becoming somebody --------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """What the kernel is told, in that order."""
    found = []
    stand_in = types.SimpleNamespace(**vars(os))
    for name in ("setgroups", "setresgid", "setresuid", "chdir", "closerange", "execve"):
        setattr(stand_in, name, lambda *arguments, name=name: found.append((name, *arguments)))
    stand_in.geteuid = lambda: 0
    monkeypatch.setattr(owner, "os", stand_in)
    return found


def test_root_s_rights_go_before_the_program_comes(calls):
    owner.become(ANNA, ["/usr/bin/git", "receive-pack", "/srv/git/site.git"])
    # The groups first: afterwards nobody could give them up any more.
    assert calls[:3] == [
        ("setgroups", [54322, 7]),
        ("setresgid", 54322, 54322, 54322),
        ("setresuid", 54321, 54321, 54321),
    ]
    assert calls[3:5] == [("chdir", "/"), ("closerange", 3, os.sysconf("SC_OPEN_MAX"))]
    [(_, program, words, environment)] = calls[5:]
    assert (program, words) == ("/usr/bin/git", ["/usr/bin/git", "receive-pack", "/srv/git/site.git"])
    assert environment == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/home/anna",
        "USER": "anna",
        "LOGNAME": "anna",
        "LC_ALL": "C.UTF-8",
        "GIT_TERMINAL_PROMPT": "0",
    }


def test_who_is_that_user_already_keeps_his_groups_and_loses_his_open_files(calls):
    root = owner.User(0, 0, (0,), "root", "/root")
    owner.become(root, ["/usr/bin/git"])
    assert [name for name, *_ in calls] == ["chdir", "closerange", "execve"]
    assert calls[-1][3]["PATH"].startswith("/usr/local/sbin:/usr/sbin:/sbin:")


@pytest.mark.parametrize("same", [True, False])
def test_a_program_of_somebody_else_s_gets_all_his_groups_and_none_of_root_s(same):
    uid = os.geteuid() if same else os.geteuid() + 1
    found = owner.User(uid, 7, (7, 8), "anna", "/home/anna").popen_options()
    assert found["cwd"] == "/" and found["start_new_session"] is True
    rights = {key: found[key] for key in ("user", "group", "extra_groups") if key in found}
    assert rights == ({} if same else {"user": uid, "group": 7, "extra_groups": [7, 8]})


def test_somebody_by_his_number():
    me = pwd.getpwuid(os.geteuid())
    found = owner.user(me.pw_uid, 12345)
    assert (found.uid, found.gid, found.name, found.home) == (me.pw_uid, me.pw_gid, me.pw_name, me.pw_dir)
    assert set(found.groups) == set(os.getgrouplist(me.pw_name, me.pw_gid))
    assert owner.user(4000000, 12345) == owner.User(4000000, 12345, (12345,), "4000000", "/nonexistent")


# --- what runs as somebody ----------------------------------------------------------------------------


@pytest.fixture
def me():
    return owner.user(os.geteuid(), os.getegid())


def test_a_program_says_what_it_has_to_say_and_how_it_ended(me):
    begun = []
    status, out, error = owner.run(
        me,
        ["/bin/sh", "-c", 'read line; echo "$line $MORE"; pwd; echo no >&2; exit 3'],
        30,
        "speak",
        started=lambda: begun.append("started"),
        stdin=_pipe_with(b"hello\n"),
        environment={"MORE": "more"},
    )
    assert (status, out, error, begun) == (3, "hello more\n/\n", "no\n", ["started"])


def _pipe_with(data):
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return reading


def test_a_program_that_reads_finds_nothing_to_read(me):
    assert owner.run(me, ["/bin/cat"], 30, "read") == (0, "", "")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("/nonexistent/git", "Cannot push it: the program /nonexistent/git is not installed."),
        ("/etc/passwd", "Cannot push it: /etc/passwd: .*Permission denied"),
    ],
)
def test_a_program_that_cannot_start_is_named(me, program, words):
    with pytest.raises(Unavailable, match=words):
        owner.run(me, [program], 30, "push it")


def test_a_program_that_does_not_end_is_ended_with_all_that_it_has_started(me, tmp_path):
    """What it has started would hold its output open, and go on with the repository."""
    script = f'sleep 61 & echo $! > "{tmp_path}/child"; wait'
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="Cannot push it: no end within 0.3 seconds"):
        owner.run(me, ["/bin/sh", "-c", script], 0.3, "push it")
    assert time.monotonic() - begun < 30
    child = int((tmp_path / "child").read_text())
    end = time.monotonic() + 10
    while _runs(child):
        assert time.monotonic() < end


def _runs(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_no_more_is_kept_than_somebody_reads(me, monkeypatch):
    monkeypatch.setattr(owner, "KEPT", 100_000)
    monkeypatch.setattr(owner, "_UNHURRIED", 0.0)
    script = "head -c 300000 /dev/zero | tr '\\0' x"
    _, out, error = owner.run(me, ["/bin/sh", "-c", script], 30, "talk")
    assert (len(out), error) == (100_000, "")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one\n  two\t\n", "one two"),
        ("", "nothing said"),
        (" \n", "nothing said"),
        ("\x1b[2J", "\\#033[2J"),
        ("x" * 900, "x" * 800),
    ],
)
def test_what_it_has_said_is_one_printable_line(text, line):
    assert owner.said(text) == line


# --- whose a repository is ----------------------------------------------------------------------------


@pytest.fixture
def place():
    """A folder whose way nobody else can change; the temporary folder of a test is deeper in one."""
    with tempfile.TemporaryDirectory() as folder:
        yield pathlib.Path(os.path.realpath(folder))


@pytest.fixture
def repository(place):
    made = place / "git/site.git"
    for folder in ("hooks", "objects/ab", "objects/pack", "refs/heads", "info"):
        (made / folder).mkdir(parents=True)
    for file in ("config", "hooks/post-receive", "objects/ab/cdef", "refs/heads/main", "info/exclude"):
        (made / file).write_text("")
    for one in (place, *place.rglob("*")):
        one.chmod(0o755 if one.is_dir() else 0o644)
    return made


def seen(monkeypatch, path, receiving=False):
    """What is judged of a repository, by its place: kinds of what is above and in it."""
    found = []
    monkeypatch.setattr(
        ownership, "repository_problem", lambda above, inside, receiving: found.append((above, inside))
    )
    owner.of_repository(str(path), receiving)
    [(above, inside)] = found
    return above, {one.path: one for one in inside}


def test_what_is_judged_of_a_repository(repository, monkeypatch):
    (repository / "hooks/link").symlink_to("/bin/true")
    # What git keeps there is no program, and who may write there is asked of folders alone.
    (repository / "objects/link").symlink_to("../info")
    os.chmod(repository / "config", 0o640)
    before = set(os.listdir("/proc/self/fd"))
    # However it is written.
    above, inside = seen(monkeypatch, f"{repository.parent}/./site.git//")
    assert [one.path for one in above][:2] == ["/", "/" + repository.parts[1]]
    assert above[-1] == ownership.Entry(str(repository), os.geteuid(), 0o755, "folder")
    names = {path[len(str(repository)) + 1 :]: one.kind for path, one in inside.items()}
    assert names == {
        "config": "file",
        "hooks": "folder",
        "hooks/post-receive": "file",
        "hooks/link": "link",
        "objects": "folder",
        "objects/ab": "folder",
        "objects/pack": "folder",
        "refs": "folder",
        "refs/heads": "folder",
        "info": "folder",
    }
    assert inside[f"{repository}/config"].mode == 0o640
    assert {one.uid for one in inside.values()} == {os.geteuid()}
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["hooks", "objects"])
def test_a_link_in_a_repository_is_not_followed(repository, place, monkeypatch, name):
    (repository / name).rename(place / "elsewhere")
    (repository / name).symlink_to(place / "elsewhere")
    _, inside = seen(monkeypatch, repository)
    assert inside[f"{repository}/{name}"].kind == "link"
    assert not [path for path in inside if path.startswith(f"{repository}/{name}/")]


@pytest.mark.parametrize(
    ("target", "on_the_way"),
    [
        pytest.param("{place}/git", ["one", "git"], id="to an absolute path"),
        pytest.param("git", ["one", "git"], id="to one beside it"),
        pytest.param("git/../git/.", ["one", "git", "git"], id="up and down again"),
        pytest.param("two", ["one", "two", "git"], id="to another link"),
    ],
)
def test_links_on_the_way_are_judged_and_followed_as_the_kernel_does(
    repository, place, monkeypatch, target, on_the_way
):
    (place / "one").symlink_to(target.format(place=place))
    (place / "two").symlink_to("git")
    before = set(os.listdir("/proc/self/fd"))
    above, inside = seen(monkeypatch, place / "one/site.git")
    names = [one.path for one in above]
    links = {one.path for one in above if one.kind == "link"}
    assert links == {str(place / one) for one in on_the_way if one != "git"}
    assert [one for one in names if one not in (str(place), *map(str, place.parents))] == [
        *(str(place / one) for one in on_the_way),
        str(repository),
    ]
    assert str(repository / "config") in inside
    assert set(os.listdir("/proc/self/fd")) == before


def test_above_the_top_is_the_top(repository, monkeypatch):
    above, _ = seen(monkeypatch, f"/../..{repository}")
    folders = [*reversed(repository.parents), repository]
    assert [one.path for one in above] == [str(one) for one in folders]


def test_the_last_one_judged_is_the_repository_itself(repository, place, monkeypatch):
    """Whose it is decides who git runs as; a way may end by going up again."""
    (place / "up").symlink_to("git/site.git/hooks/..")
    above, inside = seen(monkeypatch, place / "up")
    assert above[-1].path == str(repository) and above[-2].path == str(repository / "hooks")
    assert str(repository / "config") in inside


def test_links_that_lead_nowhere_end(place):
    (place / "one").symlink_to("two")
    (place / "two").symlink_to("one")
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(Unavailable, match=f"The repository {place}/one on salt2 cannot be looked at"):
        owner.of_repository(f"{place}/one", node="salt2")
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(("links", "followed"), [(40, True), (41, False)])
def test_so_many_links_are_followed_as_by_the_kernel(repository, place, links, followed):
    for number in range(links):
        (place / f"link{number}").symlink_to(f"link{number + 1}" if number + 1 < links else "git/site.git")
    if followed:
        assert owner.of_repository(f"{place}/link0").uid == os.geteuid()
        return
    with pytest.raises(Unavailable, match="too many links"):
        owner.of_repository(f"{place}/link0")


@pytest.mark.parametrize("what", ["missing", "file", "file/below"])
def test_what_is_no_folder_is_no_repository(place, what):
    (place / "file").write_text("")
    with pytest.raises(Unavailable, match="on this node cannot be looked at: (No such|Not a dir)"):
        owner.of_repository(f"{place}/{what}")


def test_a_refusal_says_what_was_found_why_and_what_to_run(repository):
    (repository / "hooks/post-receive").chmod(0o777)
    with pytest.raises(Refused) as refused:
        owner.of_repository(str(repository), node="salt2")
    said = str(refused.value)
    assert said.startswith(f"The repository {repository} on salt2 is left alone: others may write to ")
    assert f"{repository}/hooks/post-receive (mode 0777), so git would run what they write there" in said
    assert "Run there: chown -Rh " in said


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give files away")
@pytest.mark.parametrize("way", ["git/site.git", "a/longer/way/site.git", "s/site.git", "git/./site.git"])
def test_what_others_can_steer_is_refused_by_whatever_name_it_is_reached(repository, place, way):
    """By a link it has another name than the one that was entered, and a longer or a shorter one."""
    (place / "a/longer").mkdir(parents=True)
    (place / "a/longer/way").symlink_to(place / "git")
    (place / "s").symlink_to("git")
    for one in (repository, *repository.rglob("*")):
        os.chown(one, ANNA.uid, ANNA.gid)
    (repository / "objects/ab").chmod(0o777)
    assert owner.of_repository(f"{place}/{way}").uid == ANNA.uid
    (repository / "hooks").chmod(0o777)
    with pytest.raises(Refused, match="others may write to .*/hooks .mode 0777"):
        owner.of_repository(f"{place}/{way}")


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give files away")
@pytest.mark.parametrize("folder", ["objects/ab", "refs/heads", "info"])
def test_folders_into_which_its_owner_cannot_write_matter_to_who_writes(repository, folder):
    for one in (repository, *repository.rglob("*")):
        os.chown(one, ANNA.uid, ANNA.gid)
    assert owner.of_repository(str(repository), receiving=True) == owner.user(ANNA.uid, ANNA.gid)
    os.chown(repository / folder, 0, 0)
    assert owner.of_repository(str(repository)).uid == ANNA.uid
    with pytest.raises(Refused, match=f"{folder} in it belongs to uid 0"):
        owner.of_repository(str(repository), receiving=True)
