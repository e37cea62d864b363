"""One release is in force, whole, whatever ends highstate and whenever."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

from failback.host import files
from failback.host import release
from failback.host import system
from failback.host.paths import Paths


class Killed(BaseException):
    """What a test raises where a process would be killed."""


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path / "node")


@pytest.fixture
def package(tmp_path):
    """``package("text")``: the folder of a package whose modules say so."""

    def make(text):
        folder = tmp_path / f"synced-{text}" / "failback"
        for name in ("__init__.py", "cli.py", "wing/__init__.py", "wing/module.py"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"TEXT = {text!r}\n")
        (folder / "__pycache__").mkdir(exist_ok=True)
        (folder / "__pycache__/cli.cpython-311.pyc").write_bytes(b"byte code")
        return folder

    return make


def texts(paths):
    """What the modules of the release in force say."""
    folder = paths.release.resolve()
    return {str(path.relative_to(folder)): path.read_text().split("'")[1] for path in folder.rglob("*.py")}


def whole(text):
    names = ("__init__.py", "cli.py", "wing/__init__.py", "wing/module.py")
    return {f"failback/{name}": text for name in names}


def found(paths):
    return {str(path.relative_to(paths.release.resolve())) for path in paths.release.resolve().rglob("*")}


def test_a_release_is_put_in_force(paths, package):
    source = package("one")
    assert release.digest(paths) is None
    assert release.install(source, paths) == system.package_digest(source) == release.digest(paths)
    assert found(paths) == {"failback", "failback/wing", *whole("one")}
    for path in [paths.library, *paths.library.rglob("*")]:
        if not path.is_symlink():
            assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


def test_one_that_is_in_force_is_left_alone(paths, package):
    source = package("one")
    release.install(source, paths)
    before = {path: path.lstat().st_ino for path in paths.library.rglob("*")}
    release.install(source, paths)
    assert {path: path.lstat().st_ino for path in paths.library.rglob("*")} == before


def test_the_umask_of_whoever_installs_does_not_matter(paths, package):
    before = os.umask(0o077)
    try:
        release.install(package("one"), paths)
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in paths.library.rglob("*.py")}
    assert modes == {0o644}
    assert paths.release.resolve().stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("damage", ["changed", "removed", "added"])
def test_a_damaged_release_is_replaced_and_its_name_is_not_trusted(paths, package, damage):
    source = package("one")
    release.install(source, paths)
    damaged = paths.release.resolve() / "failback/wing/module.py"
    if damage == "changed":
        damaged.write_text("TEXT = 'of last year'\n")
    elif damage == "removed":
        damaged.unlink()
    else:
        damaged.with_name("stale.py").write_text("TEXT = 'of last year'\n")
    assert release.digest(paths) != system.package_digest(source)
    release.install(source, paths)
    assert release.digest(paths) == system.package_digest(source)
    assert texts(paths) == whole("one")


def test_a_few_earlier_releases_stay_for_what_still_runs_from_them(paths, package):
    byte_code = paths.root / release.BYTE_CODE
    installed = []
    for number, text in enumerate(["one", "two", "three", "four"]):
        release.install(package(text), paths)
        folder = paths.release.resolve()
        installed.append(folder)
        os.utime(folder, (number, number))
        cached = byte_code / folder.relative_to(paths.root.resolve()) / "failback"
        cached.mkdir(parents=True)
    assert {path.resolve() for path in (paths.library / "releases").iterdir()} == set(installed[1:])
    assert texts(paths) == whole("four")
    kept = {path.name for path in byte_code.rglob("releases/*")}
    assert kept == {path.name for path in installed[1:]}


def test_going_back_to_an_earlier_release_only_moves_the_link(paths, package):
    one = package("one")
    release.install(one, paths)
    inode = paths.release.resolve().stat().st_ino
    release.install(package("two"), paths)
    release.install(one, paths)
    assert paths.release.resolve().stat().st_ino == inode
    assert texts(paths) == whole("one")


def kill_after(monkeypatch, calls):
    """Let the process be killed after so many calls that change something on the disk."""
    left = [calls]

    def counted(function):
        def call(*args, **kwargs):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return function(*args, **kwargs)

        return call

    for name in ("replace", "rename", "mkdir", "symlink", "utime", "fsync", "fchmod"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    for name in ("unlink", "rmdir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))


@pytest.mark.parametrize("begun", ["nothing", "another", "three others", "damaged"])
def test_killed_anywhere_it_leaves_the_old_release_or_the_new_one_whole(
    tmp_path, package, monkeypatch, begun
):
    new = package("new")
    old = {"nothing": "", "another": "one", "three others": "one two three", "damaged": "new"}[begun].split()
    before = [package(text) for text in old]
    for step in range(200):
        paths = Paths(tmp_path / f"node-{step}")
        for source in before:
            release.install(source, paths)
        if begun == "damaged":
            (paths.release / "failback/wing/module.py").write_text("TEXT = 'of last year'\n")
        standing = texts(paths) if old else None
        with monkeypatch.context() as patch:
            kill_after(patch, step)
            try:
                release.install(new, paths)
            except Killed:
                ended = False
            else:
                ended = True
        if old or paths.release.exists():
            assert texts(paths) in (standing, whole("new")), f"after {step} calls"
        release.install(new, paths)
        assert texts(paths) == whole("new"), f"after {step} calls, once more"
        leftovers = [path.name for path in paths.library.rglob(".*")]
        assert leftovers == [], f"after {step} calls, once more"
        if ended:
            assert step > 15
            return
    raise AssertionError("It never ended.")


def test_no_room_is_an_error_and_the_release_before_stays(paths, package, monkeypatch):
    release.install(package("one"), paths)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        release.install(package("two"), paths)
    assert texts(paths) == whole("one")


PROGRAM = pathlib.Path(__file__).parents[3] / "salt/pair/files/failback"


def test_the_program_runs_from_one_release_though_the_link_is_swapped_meanwhile(paths, package, tmp_path):
    """It loads a module late; by then another release is in force."""
    sources = []
    for text in ("one", "two"):
        source = package(text)
        (source / "cli.py").write_text(
            "import sys\n\n\ndef main():\n    print('begun', flush=True)\n    sys.stdin.readline()\n"
            "    from failback.wing import module\n    print(module.TEXT)\n    return 0\n"
        )
        sources.append(source)
    release.install(sources[0], paths)
    text = PROGRAM.read_text().replace("/usr/local/lib/failback", str(paths.library))
    program = tmp_path / "program"
    program.write_text(text.replace("/var/cache/failback", str(tmp_path / "cache")))
    process = subprocess.Popen(
        [sys.executable, "-I", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begun\n"
    release.install(sources[1], paths)
    said, _ = process.communicate("go on\n", 10)
    assert said == "one\n" and process.returncode == 0


class TestFlat:
    """The library as the first releases had it."""

    @pytest.fixture
    def flat(self, paths):
        folder = paths.library / "failback"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        os.utime(folder / "__init__.py", (1, 1))
        return folder

    def status(self, paths, cron, pid, since):
        files.write_json(paths.root / f"run/failback/watch-{cron}.json", {"pid": pid, "since": since})

    def test_goes_when_nothing_runs_from_it(self, paths, flat):
        self.status(paths, "dead", 2**22 + 1, 1.0)
        assert release.retire_flat(paths, limit=0) == []
        assert not flat.exists()

    def test_stays_while_a_watch_has_not_started_anew_and_is_changed_so_that_it_does(self, paths, flat):
        self.status(paths, "gateway-ip", os.getpid(), time.time() - 100)
        self.status(paths, "gateway-ip-public", os.getpid(), time.time() + 100)
        assert release.retire_flat(paths, limit=0) == ["gateway-ip"]
        assert (flat / "__init__.py").stat().st_mtime > 1

    def test_goes_as_soon_as_the_watch_has_started_anew(self, paths, flat, monkeypatch):
        self.status(paths, "gateway-ip", os.getpid(), time.time() - 100)
        monkeypatch.setattr(
            time, "sleep", lambda seconds: self.status(paths, "gateway-ip", os.getpid(), time.time())
        )
        assert release.retire_flat(paths, limit=60) == []
        assert not flat.exists()
