"""``make test`` itself: what runs side by side, what is noted of each test, what is said at the end."""

import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time

import pytest
import samples

from lab.testing import __main__ as testing
from lab.testing import meter
from lab.testing import outcomes
from lab.testing import scheduler
from lab.testing import suites
from lab.testing.outcomes import Outcome
from lab.testing.outcomes import Result
from lab.testing.scheduler import Job

pytestmark = pytest.mark.one_release

FILE = """
import os
import pytest

def test_well(): pass
def test_bad(): assert 1 == 2, "a reason"
@pytest.mark.skip(reason="no moon")
def test_skipped(): pass
@pytest.fixture
def broken(): raise RuntimeError("no hosts")
def test_not_begun(broken): pass
@pytest.fixture
def ends_badly():
    yield
    raise RuntimeError("left something")
def test_its_end_fails(ends_badly): pass
def test_dies(): os._exit(3)
def test_never_seen(): pass
"""


def recorded(folder, text, *words, **variables):
    (folder / "test_it.py").write_text(text)
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "lab.testing.record"]
    command += [f"--record={folder / 'record'}", f"--rootdir={folder}", *words, str(folder / "test_it.py")]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done, {test.name.split("::")[-1]: test for test in outcomes.read(folder / "record")}


def test_what_came_of_each_test_is_there_though_their_process_died(tmp_path):
    _, found = recorded(tmp_path, FILE)
    assert {name: test.outcome for name, test in found.items()} == {
        "test_well": "passed",
        "test_bad": "failed",
        "test_skipped": "skipped",
        "test_not_begun": "failed",
        "test_its_end_fails": "failed",
        "test_dies": "not run",
        "test_never_seen": "not run",
    }
    assert "a reason" in found["test_bad"].reason and "test_it.py" in found["test_bad"].detail
    assert found["test_skipped"].reason == "no moon"
    assert found["test_not_begun"].reason.startswith("RuntimeError: no hosts")
    assert "in the middle" in found["test_dies"].reason
    assert "in the middle" not in found["test_never_seen"].reason


HOSTILE = """
import pytest

class Broken:
    @property
    def site(self): raise RuntimeError("no such lab")

@pytest.mark.parametrize("pair", ["salt", None, Broken()])
def test_bad(pair): assert pair == 0
def test_next(): pass
"""


def test_whatever_a_fixture_of_a_lab_test_is_its_failure_is_one_and_the_next_test_runs(tmp_path):
    """The hook that adds the journals took a parameter named ``pair`` for the pair, and ended the suite."""
    place = suites.cache.CHECKOUT / "tests/lab"
    _, found = recorded(tmp_path, HOSTILE, "-p", "conftest", PYTHONPATH=f"{place.parent}:{place}")
    assert sorted(test.outcome for test in found.values()) == ["failed", "failed", "failed", "passed"]


def test_a_file_that_cannot_be_imported_is_a_failure(tmp_path):
    done, found = recorded(tmp_path, "import nothing_like_that")
    assert done.returncode
    ((name, test),) = found.items()
    assert name == "test_it.py" and test.outcome == "failed" and "nothing_like_that" in test.reason


def test_the_workers_of_one_suite_are_written_down_once(tmp_path):
    pytest.importorskip("xdist")
    _, found = recorded(tmp_path, FILE.replace("os._exit(3)", "pass"), "-n", "2")
    counts = Outcome("", "", 0, tuple(found.values())).counts
    assert counts == {"passed": 3, "failed": 3, "skipped": 1}


def test_a_record_that_is_not_there_has_no_tests(tmp_path):
    assert outcomes.read(tmp_path / "none") == ()


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    place = tmp_path / "record"
    place.write_text(json.dumps({"collected": ["a", "b"]}) + '\n{"ended": "a", "outco')
    assert [test.outcome for test in outcomes.read(place)] == ["not run", "not run"]


WELL, BAD = Result("tests/a.py::well", "passed", 2), Result("tests/a.py::bad[x]", "failed", 30, "1 == 2")
SKIPS = (Result("a.py::one[x]", "skipped", 0, "no moon"), Result("a.py::one[y]", "skipped", 0, "no moon"))
UNSEEN = Result("a.py::unseen", "not run", 0, "its process had ended")


@pytest.mark.parametrize(
    ("outcome", "passed"),
    [
        (Outcome("unit", "unit", 1, (WELL, *SKIPS)), True),
        (Outcome("unit", "unit", 1, (WELL, BAD)), False),
        (Outcome("unit", "unit", 1, (WELL, UNSEEN)), False),
        (Outcome("ruff", "lint", 1), True),
        (Outcome("ruff", "lint", 1, ended="exit status 1"), False),
    ],
)
def test_what_was_not_run_or_did_not_end_well_has_not_passed(outcome, passed):
    assert outcome.passed is passed


def test_the_table_has_every_suite_what_went_wrong_and_the_slowest():
    found = [
        Outcome("unit on Python 3.9", "unit", 60, (WELL, *SKIPS), processor=40.4),
        Outcome("unit on Python 3.13", "unit", 50, (WELL, BAD), processor=30),
        Outcome("lab vm", "lab", 5, (UNSEEN,)),
        Outcome("ruff", "lint", 1, ended="exit status 1"),
    ]
    text = "\n".join(outcomes.shown(found))
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.endswith("FAILED")}
    assert rows == {
        "unit": ["2", "1", "-", "2", "110", "70", "FAILED"],
        "lab": ["-", "-", "1", "-", "5", "0", "FAILED"],
        "lint": ["-", "-", "-", "-", "1", "0", "FAILED"],
    }
    assert "failed   tests/a.py::bad[x] (unit on Python 3.13): 1 == 2" in text
    assert "not run  a.py::unseen (lab vm)" in text
    assert "ruff: exit status 1" in text
    assert "2 because no moon\n        a.py::one (unit on Python 3.9) × 2" in text
    assert text.index("30.0 s  tests/a.py::bad[x]") < text.index("2.0 s  tests/a.py::well")
    assert outcomes.last_line(found, 116) == "2 passed, 1 failed, 1 not run, 2 skipped in 1 min 56 s"


WORKS = "import time\nwhile time.process_time() < 0.3: pass"


def started(text):
    return subprocess.Popen([sys.executable, "-c", text])


def test_what_a_part_costs_is_that_of_its_processes_and_of_its_labs(monkeypatch):
    monkeypatch.setattr(meter, "PAUSE", 0.01)
    # The lab is not seen once, and later made anew; another one is somebody else's.
    looks = iter([{"mine": 5.0, "other": 70.0}, {"mine": 7.0}, {}, {"mine": 8.0}, {}, {"mine": 1.5}])
    last = {"mine": 2.0, "other": 90.0}
    monkeypatch.setattr(meter.cgroups, "used", lambda: next(looks, last))
    measured = meter.Meter(started(WORKS), lambda lab: lab == "mine")
    assert measured.wait(60) == 0
    assert 10.2 <= measured.seconds < 12


CHILD = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {WORKS!r}])"


@pytest.mark.parametrize(("is_its_own", "least", "most"), [(None, 0.25, 2), (lambda lab: True, 0, 0.25)])
def test_a_host_is_counted_once(monkeypatch, is_its_own, least, most):
    """Where hosts are booted they are children, and their group counts them."""
    monkeypatch.setattr(meter.cgroups, "used", lambda: {})
    measured = meter.Meter(started(CHILD), is_its_own)
    assert measured.wait(60) == 0
    assert least <= measured.seconds < most


@pytest.mark.parametrize(
    ("text", "status"), [("raise SystemExit(5)", 5), ("import os; os.kill(os.getpid(), 9)", -9)]
)
def test_how_a_part_ended_is_told(text, status):
    assert meter.Meter(started(text)).wait(60) == status


def test_a_part_that_does_not_end_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(meter, "PAUSE", 0.01)
    process = started("import time; time.sleep(600)")
    assert meter.Meter(process).wait(0.1) is None
    process.kill()
    assert process.wait() == -9


def test_one_that_somebody_else_has_waited_for_has_ended():
    process = started("")
    process.wait()
    assert meter.Meter(process).wait(60) == 0


class Machine:
    """Notes which jobs run at the same time."""

    def __init__(self):
        self.lock, self.running, self.together, self.order = threading.Lock(), [], [], []

    def job(self, name, **words):
        def run():
            with self.lock:
                self.running.append(name)
                self.order.append(name)
                self.together.append(frozenset(self.running))
            time.sleep(0.05)
            with self.lock:
                self.running.remove(name)
            return f"result of {name}"

        return Job(name, run, **words)


def test_masters_and_minions_are_kept_apart_with_the_labs():
    parts = suites.parts(["unit", "integration", "lab"], ["3008"])
    assert {part.suite for part in parts if part.hosts} == {"integration", "lab"}
    assert not any(part.hosts for part in parts if part.suite == "unit")


def run(jobs, makers=None, memory=1000, processors=2.0, for_hosts=1.6):
    return scheduler.run(jobs, makers or {}, scheduler.Room(memory, processors, for_hosts))


def test_results_come_in_the_jobs_order_and_the_longest_begins_first():
    machine = Machine()
    jobs = [machine.job("short", seconds=1, busy=2), machine.job("long", seconds=100, busy=2)]
    assert run(jobs) == ["result of short", "result of long"]
    assert machine.order == ["long", "short"]


@pytest.mark.parametrize("what", [{"memory": 400}, {"busy": 0.9, "memory": 1}])
def test_no_more_run_at_once_than_there_is_room_for(what):
    machine = Machine()
    run([machine.job(f"job {number}", **what) for number in range(6)])
    assert max(len(each) for each in machine.together) == 2


def test_one_that_is_too_large_for_the_machine_runs_by_itself():
    machine = Machine()
    jobs = [machine.job("huge", memory=5000), *(machine.job(f"job {number}") for number in range(3))]
    assert len(run(jobs)) == 4
    assert all(each == {"huge"} for each in machine.together if "huge" in each)


def test_what_has_many_hosts_comes_last_of_these_and_other_jobs_are_left_for_it():
    machine = Machine()
    labs = [machine.job(f"lab {number}", hosts=True, busy=0.8, memory=1) for number in range(4)]
    many = machine.job("many", hosts=True, alone=True, seconds=900, busy=0.5, memory=1)
    unit = machine.job("unit", busy=1.3, memory=1, seconds=90)
    run([unit, many, *labs])
    assert set(machine.order[-2:]) == {"many", "unit"}
    # Asked of the rule: one of two threads may have ended before the other one begins.
    assert scheduler.fits(unit, [many], scheduler.Room(1000, 2.0, 1.6))
    assert not any("many" in each and len(each - {"many", "unit"}) for each in machine.together)


def test_the_longest_does_not_wait_for_all_that_are_shorter():
    """It needs both processors, and there is always one that needs a single one."""
    machine = Machine()
    jobs = [machine.job(f"job {number}", seconds=50 - number) for number in range(6)]
    run([*jobs, machine.job("first", seconds=60), machine.job("wide", seconds=49.5, busy=2)])
    assert machine.order.index("wide") <= 3


def test_hosts_keep_apart_and_others_run_beside_them():
    machine = Machine()
    labs = [machine.job(f"lab {number}", hosts=True, busy=0.8, seconds=90, memory=1) for number in range(4)]
    run([*labs, machine.job("unit", busy=0.4, memory=1, seconds=10)])
    assert max(sum(name != "unit" for name in each) for each in machine.together) == 2
    # The third lab waits for a lab to end, and not for the unit tests: nor these for it.
    assert machine.order.index("unit") == 2


def test_a_quick_machine_counts_as_one_and_a_slow_one_as_that_of_the_figures(monkeypatch):
    assert meter.QUICKEST <= meter.pace() <= 1
    slowest = meter.SECONDS_OF_LOOP
    for seconds, wanted in ((0.001, meter.QUICKEST), (0.8 * slowest, 0.8), (9, 1)):
        told = itertools.accumulate(itertools.chain([0], itertools.cycle([seconds, 100])))
        samples.in_place_of_time(monkeypatch, meter, thread_time=lambda told=told: next(told))
        assert meter.pace() == pytest.approx(wanted)
        monkeypatch.undo()


def test_hosts_are_less_work_on_a_quick_machine_and_what_stands_alone_does_so_there_too():
    by_name = {part.name: part for part in suites.parts(["lab", "unit"])}
    for pace in (1, meter.QUICKEST):
        job = testing.job(by_name["lab dalma"], pace, print)
        assert (job.alone, job.busy) == (True, suites.LABS["dalma"].busy * pace)
        assert not testing.job(by_name["lab moving"], pace, print).alone
    unit = next(part for name, part in by_name.items() if name.startswith("unit"))
    assert testing.job(unit, meter.QUICKEST, print).busy == unit.busy


def test_a_lab_that_waits_for_a_processor_is_not_passed_by_what_is_shorter():
    machine = Machine()
    jobs = [machine.job(f"job {number}", seconds=80 - number, memory=1) for number in range(4)]
    run([*jobs, machine.job("lab", hosts=True, busy=1.6, seconds=78.5, memory=1)])
    assert machine.order.index("lab") <= 3


def test_a_lab_that_is_too_large_runs_by_itself():
    machine = Machine()
    jobs = [machine.job(name, hosts=True, busy=busy) for name, busy in (("one", 3), ("other", 0.1))]
    assert len(run(jobs)) == 2
    assert all(len(each) == 1 for each in machine.together)


def test_a_job_waits_for_what_it_needs_and_others_do_not(monkeypatch):
    monkeypatch.setattr(scheduler, "SOON", 0.05)
    machine, made = Machine(), []

    def make():
        time.sleep(0.2)
        made.append(list(machine.order))

    run([machine.job("lab", needs=("image",), seconds=100), machine.job("unit")], {"image": make})
    assert machine.order == ["unit", "lab"] and made == [["unit"]]


def test_what_cannot_be_made_fails_those_who_need_it_and_nobody_else():
    def make():
        raise RuntimeError("no network")

    machine = Machine()
    lab, unit = run([machine.job("lab", needs=("image",)), machine.job("unit")], {"image": make})
    assert isinstance(lab, RuntimeError) and unit == "result of unit"


def test_what_is_in_the_cache_does_not_let_a_shorter_job_begin_first():
    machine = Machine()
    jobs = [machine.job("unit", busy=2), machine.job("lab", needs=("image",), seconds=900, busy=2)]
    run(jobs, {"image": lambda: time.sleep(0.1)})
    assert machine.order == ["lab", "unit"]


def test_a_job_that_raises_is_its_result_and_the_others_go_on():
    def bad():
        raise OSError("no such program")

    machine = Machine()
    first, second = run([Job("bad", bad), machine.job("good")])
    assert isinstance(first, OSError) and second == "result of good"


PLAN = "tests/unit/decisions/test_plan.py"


@pytest.mark.parametrize(
    ("place", "name", "suite"),
    [
        (PLAN, PLAN, "unit"),
        (f"{PLAN}::test_x[a/b]", f"{PLAN}::test_x[a/b]", "unit"),
        ("tests/lab/recovery/test_recovery.py::test_y", "lab recovery", "lab"),
        ("tests/lab/dalma", "lab dalma", "lab"),
    ],
)
def test_one_test_is_run_where_it_belongs(place, name, suite):
    part = suites.only(place)
    assert (part.name, part.suite, part.words) == (name, suite, (place,))
    assert bool(part.lab) is (suite == "lab")


@pytest.mark.parametrize(
    "place",
    ["tests/unit/none.py", "README.md", "salt/_modules/pair.py", "tests/lab", "tests/lab/conftest.py"],
)
def test_what_is_no_test_is_named(place):
    with pytest.raises(LookupError):
        suites.only(place)


def test_each_lab_has_a_name_of_its_own():
    parts = [part for part in suites.parts(["lab", "bench"]) if part.lab]
    bases = ["test", "a", "a-very-long-name", "a-very-long-namf"]
    names = [suites.lab_name(base, part) for base in bases for part in parts]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 16 and name.strip("-") == name for name in names)


def test_what_loads_salt_is_no_test_of_the_library():
    """Those run on Pythons that have no Salt."""
    loads = re.compile(r"^(?:import|from) salt\b|\b(?:minion_opts|master_opts|modules|loaders)\b[,)]", re.M)
    pure = sorted((suites.cache.CHECKOUT / suites.PURE).rglob("test_*.py"))
    assert len(pure) > 10 and [path.name for path in pure if loads.search(path.read_text())] == []


@pytest.mark.parametrize(
    "suite, given, wanted",
    [
        ("functional", {}, ["3008", "3007", "3006"]),
        ("integration", {}, ["3008", "3006"]),
        ("integration", {"thorough": True}, ["3008", "3007", "3006"]),
        ("integration", {"releases": ["3007"]}, ["3007"]),
        ("integration", {"check": True}, ["3008"]),
    ],
)
def test_what_loads_salt_runs_on_each_release_and_what_takes_long_on_two(suite, given, wanted):
    parts = suites.parts([suite], **given)
    assert [part.release for part in parts if part.interpreter == "machine"] == wanted


def test_everything_runs_somewhere():
    places = {word for part in suites.parts(suites.SUITES) for word in part.words}
    here = suites.cache.CHECKOUT / "tests"
    for path in here.rglob("test_*.py"):
        folders = {f"tests/{parent.relative_to(here)}" for parent in path.parents if here in parent.parents}
        assert folders & places, path


RELEASES = """
import effort
import pytest

def pytest_collection_modifyitems(items):
    items[:], _ = effort.for_this_release(items)
"""

OF_RELEASES = """
import pytest

def test_each(): pass
@pytest.mark.one_release
def test_once(): pass
@pytest.mark.one_release(but="the first case")
@pytest.mark.parametrize("case", ["first", "second", "third"])
def test_cases(case): pass
"""


@pytest.mark.parametrize("older, number", [("", 5), ("1", 2)])
def test_an_older_release_leaves_what_cannot_differ_to_the_newest(tmp_path, older, number):
    (tmp_path / "conftest.py").write_text(RELEASES)
    words = ["-o", "markers=one_release", "-o", f"pythonpath={suites.cache.CHECKOUT / 'tests'}"]
    _, found = recorded(tmp_path, OF_RELEASES, *words, FAILBACK_OLDER=older)
    assert len(found) == number and {"test_each", "test_cases[first]"} <= set(found)


def test_no_file_is_left_to_one_release_alone():
    """Every module, state, runner and orchestration is loaded by each release."""
    here = suites.cache.CHECKOUT / "tests"
    for path in [*(here / "functional").rglob("test_*.py"), *(here / "integration").rglob("test_*.py")]:
        if suites.PURE not in str(path):
            text = path.read_text()
            assert len(re.findall(r"^def test_", text, re.M)) > text.count("@pytest.mark.one_release\n"), path
