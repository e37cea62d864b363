"""What a machine lacks for a lab is found by trying it, and named with its remedy before anything is made."""

import os
import pathlib
import subprocess
import sys

import pytest

from lab import doctor
from lab import machine

pytestmark = pytest.mark.one_release

TREE = pathlib.Path(__file__).resolve().parents[2]
#: A process that may not mount and make networks, as one in a container.
POWERLESS = ["setpriv", "--bounding-set", "-sys_admin,-net_admin", "--inh-caps", "-sys_admin,-net_admin"]
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
needs_root = pytest.mark.needs("root", "setpriv")


def lab(*words, first=()):
    # Without bytecode: the checkout may be another user's.
    return subprocess.run(
        [*first, sys.executable, "-B", "-m", "lab", *words],
        cwd=TREE,
        env={**os.environ, "LAB": "doctor"},
        capture_output=True,
        text=True,
        check=False,
    )


@needs_root
@pytest.mark.parametrize("command", [["up"], ["demo"], ["demo", "--site", "vm"]], ids=" ".join)
def test_whatever_boots_a_lab_refuses_with_the_doctors_sentences(command):
    done = lab(*command, first=POWERLESS)
    assert done.returncode == 1
    said = done.stderr
    assert said.startswith("This machine cannot boot a lab.\n")
    assert "capabilities: NET_ADMIN, SYS_ADMIN missing. Use a real or virtual machine" in said
    assert "`make doctor`" in said and "Traceback" not in said and "exit code" not in said
    assert not pathlib.Path("/run/failback-lab/doctor").exists()


@needs_root
def test_an_ordinary_user_is_told_to_become_root():
    done = lab("up", first=NOBODY)
    assert done.returncode == 1
    assert "root: this is not root. Run make as root, or with sudo." in done.stderr


@needs_root
def test_a_test_that_cannot_run_is_skipped_by_name_and_with_the_reason(tmp_path):
    place = TREE / "tests/functional/library/network/test_address_network.py"
    command = [*POWERLESS, sys.executable, "-B", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", place]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and " passed" not in done.stdout.splitlines()[-1], done.stdout
    assert "this machine: the capability SYS_ADMIN is missing" in done.stdout
    strict = subprocess.run(
        command, cwd=TREE, env={**os.environ, "REQUIRE": "all"}, capture_output=True, text=True, check=False
    )
    assert strict.returncode == 1 and "REQUIRE=all forbids to skip it" in strict.stdout


@pytest.mark.parametrize("needed, problem", [(0, None), (1 << 40, "MB are free")])
def test_memory_and_disk_are_compared_with_what_the_site_needs(monkeypatch, needed, problem):
    monkeypatch.setattr(doctor, "MEMORY", dict.fromkeys(doctor.MEMORY, needed))
    monkeypatch.setattr(doctor, "LAB_DISK", needed)
    found = {one.what: one for one in doctor.findings(("salt",), registries=False)}
    for what in ("memory", f"disk of {doctor.DISKS}"):
        assert (problem or "good") in str(found[what])
        assert bool(found[what].problem) is bool(problem)


@pytest.mark.parametrize(
    ("release", "optional", "problem"),
    [
        (("debian", "12"), False, None),
        (("debian", "13"), True, "Debian 13 has not been tried"),
        (("debian", ""), True, "Debian unstable has not been tried"),
        (("fedora", "43"), False, "this is fedora 43"),
    ],
)
def test_the_distribution(monkeypatch, release, optional, problem):
    monkeypatch.setattr(machine, "debian", lambda: release)
    (found,) = [one for one in doctor.findings(("salt",), registries=False) if one.what == "Debian"]
    assert found.optional is optional
    assert (problem is None and found.problem is None) or problem in found.problem


def test_every_finding_that_is_not_good_has_a_remedy(monkeypatch):
    monkeypatch.setattr(doctor, "MEMORY", dict.fromkeys(doctor.MEMORY, 1 << 40))
    monkeypatch.setattr(machine, "debian", lambda: ("fedora", "43"))
    monkeypatch.setattr(machine, "lacks", lambda need: f"{need} is not installed")
    monkeypatch.setattr(machine, "missing_capabilities", lambda: ("MKNOD",))
    wrong = [one for one in doctor.findings(("salt", "dalma"), registries=False) if one.problem]
    assert {"capabilities", "programs", "memory", "Debian"} <= {one.what for one in wrong}
    assert all(one.remedy and str(one).endswith(".") for one in wrong)


def test_a_program_that_is_not_there_is_named():
    assert machine.lacks("no-such-program-4f2a") == "no-such-program-4f2a is not installed"
    assert machine.lacks("sh") is None


def test_what_has_been_tried_is_not_tried_again(monkeypatch):
    def trial():
        raise machine.Lacks("no answer within 60 s")

    monkeypatch.setitem(machine.TRIALS, "tried-4f2a", trial)
    machine.lacks.cache_clear()
    assert machine.lacks("tried-4f2a") == "no answer within 60 s"
    machine.lacks.cache_clear()
    monkeypatch.setenv(machine.TRIED, "root tried-4f2a")
    assert machine.lacks("tried-4f2a") is None
    machine.lacks.cache_clear()
