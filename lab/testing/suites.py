"""
What ``make test`` runs, as data: the suites, and the jobs that each consists of.

What touches no Salt runs on the oldest and the newest Python, what loads Salt on each release, masters with
minions on its oldest and its newest unless ``--thorough``. What boots hosts runs on one release, each folder
of ``tests/lab`` in its own lab.
"""

import dataclasses
import hashlib
import os

from lab import cache
from lab import environments
from lab import machine
from lab import sites

SUITES = ("lint", "unit", "functional", "integration", "lab", "bench")
#: Left out of ``make test``: they test nothing in ``salt/``.
EVENING = ("bench",)
#: Those that are folders of ``tests``.
TESTED = ("unit", "functional", "integration", "lab")
#: What ``make check`` runs, on one release: the inner loop.
QUICK = ("lint", "unit", "functional")
#: On the oldest and the newest release of Salt alone.
LONG = ("integration",)
#: Functional tests that load no module.
PURE = "tests/functional/library"


@dataclasses.dataclass(frozen=True)
class Lab:
    """
    What a folder of ``tests/lab`` takes.

    memory, busy, seconds, alone
        As for ``scheduler.Job``. Seconds and busy were measured on two cores, where each run says them again;
        the memory is estimated.

    site
        Whose hosts it boots: a name of ``lab.sites.SITES``.

    snapshot
        The name of the snapshot that they begin from.
    """

    memory: int
    busy: float
    seconds: int
    site: str = "salt"
    snapshot: str = ""
    alone: bool = False


#: By the name of the folder. One that is not listed is taken for one like ``OTHER``.
LABS = {
    # Nineteen hosts keep two processors busy when they boot: beside a lab, a master is too late for Salt.
    "dalma": Lab(memory=5000, busy=1.5, seconds=1000, site="dalma", alone=True),
    "vm": Lab(memory=2000, busy=0.7, seconds=1250, site="vm"),
    "moving": Lab(memory=1500, busy=0.75, seconds=950, snapshot="salt"),
    "masters": Lab(memory=1500, busy=0.75, seconds=580, snapshot="salt"),
    "recovery": Lab(memory=1500, busy=0.8, seconds=300, snapshot="salt"),
    "serving": Lab(memory=1500, busy=0.7, seconds=850, snapshot="before"),
    "upgrading": Lab(memory=1500, busy=0.7, seconds=260, snapshot="before"),
    "faults": Lab(memory=1500, busy=0.8, seconds=150, site="faults"),
}
OTHER = Lab(memory=1500, busy=0.5, seconds=300)


@dataclasses.dataclass(frozen=True)
class Part:
    """
    One process of pytest, or of a linter.

    words
        What it is called with: tests for pytest, the whole command for another program.

    interpreter
        ``""``: no Python of ours; ``machine``: the environment of ``release``; else a name of ``PYTHONS``.

    lab
        What it takes, if it boots hosts.
    """

    name: str
    suite: str
    words: tuple
    interpreter: str = "machine"
    release: str = environments.RELEASE
    lab: Lab = None
    workers: int = 0
    seconds: int = 90
    memory: int = 300
    busy: float = 1.0

    @property
    def hosts(self):
        """Whether it runs masters and minions, of a lab or of its own, whose time-outs must hold."""
        return bool(self.lab) or self.suite == "integration"

    @property
    def is_older(self):
        """Whether another part runs the same tests on the newest release, or on the newest Python."""
        if self.interpreter in environments.PYTHONS:
            return self.interpreter != list(environments.PYTHONS)[-1]
        return self.release != environments.RELEASE

    @property
    def needs(self):
        """What must have been made before it begins: names of ``makers``."""
        needs = []
        if self.interpreter == "machine" or self.suite == "lint":
            needs.append(f"tests-{self.release}")
        elif self.interpreter:
            needs.append(f"python-{self.interpreter}")
        if self.lab and machine.lacks("lab") is None:
            needs += [f"image-{sites.SITES[self.lab.site].image}"]
            needs += [f"snapshot-{self.lab.snapshot}"] if self.lab.snapshot else []
        return tuple(needs)


def parts(suites, releases=None, check=False, thorough=False):
    """
    All that the suites consist of, as a list of ``Part``.

    releases
        Of Salt; by default all, and for what takes long the newest and the oldest.

    check
        One release, one Python, and several processes of pytest for each suite.

    thorough
        On all of them, however long it takes.
    """
    every = list(environments.RELEASES)
    found = []
    for suite in suites:
        mine = list(releases or (every if thorough or suite not in LONG else [every[0], every[-1]]))
        found += PARTS[suite](mine[:1] if check else mine, check)
    return found


def only(place, release=environments.RELEASE):
    """The ``Part`` that runs one test, file or folder of tests: ``tests/unit/test_cli.py::test_x``."""
    path = place.split("::")[0]
    if not (cache.CHECKOUT / path).exists():
        raise LookupError(f"There is no {path} in {cache.CHECKOUT}.")
    words = path.rstrip("/").split("/")
    if words[0] != "tests" or len(words) < 2 or words[1] not in TESTED:
        raise LookupError(f"{place} is not in one of {', '.join(f'tests/{each}' for each in TESTED)}.")
    if words[1] == "lab":
        if len(words) < 3 or words[2] not in _lab_folders():
            raise LookupError(f"Name one folder of tests/lab: {', '.join(_lab_folders())}.")
        return _lab(words[2], (place,))
    return Part(place, words[1], (place,), release=release)


def _lint(releases, check):
    places = [each for each in ("salt", "lab", "tests", "benchmarks") if (cache.CHECKOUT / each).is_dir()]
    found = (cache.CHECKOUT / "salt").rglob("*.sls")
    states = sorted(str(path.relative_to(cache.CHECKOUT)) for path in found)
    reference = ("python", "-B", "-m", "lab.reference", "--check")
    return [
        Part("ruff", "lint", ("ruff", "check", "--no-cache", *places), interpreter="", seconds=5),
        Part("salt-lint", "lint", ("salt-lint", *states), interpreter="", seconds=10),
        Part("reference", "lint", reference, interpreter="", seconds=2),
    ]


def pythons():
    """The interpreters for what touches no Salt; the machine's own where no other one can be entered."""
    return list(environments.PYTHONS) if machine.lacks("mounts") is None else ["machine"]


def _unit(releases, check):
    if check:
        return [Part("unit", "unit", ("tests/unit",), workers=machine.cores(), busy=0.5, seconds=60)]
    return [
        Part(f"unit on {_spoken(python)}", "unit", ("tests/unit",), python, busy=0.8, seconds=200)
        for python in pythons()
    ]


def _functional(releases, check):
    if check:
        words = ("tests/functional",)
        return [Part("functional", "functional", words, workers=2 * machine.cores(), busy=0.5, seconds=120)]
    return [
        Part(f"library on {_spoken(python)}", "functional", (PURE,), python, busy=0.4, seconds=180)
        for python in pythons()
    ] + [
        Part(
            f"functional on Salt {release}",
            "functional",
            ("tests/functional", f"--ignore={PURE}"),
            release=release,
            busy=0.6,
            seconds=280,
        )
        for release in releases
    ]


def _integration(releases, check):
    return [
        Part(
            f"integration on Salt {release}",
            "integration",
            ("tests/integration",),
            release=release,
            seconds=600,
            memory=1500,
            busy=0.5,
        )
        for release in releases
    ]


def _lab_folders():
    tests = cache.CHECKOUT / "tests/lab"
    return sorted(path.name for path in tests.iterdir() if any(path.glob("test_*.py")))


def _lab(folder, words):
    lab = LABS.get(folder, OTHER)
    return Part(f"lab {folder}", "lab", words, lab=lab, seconds=lab.seconds, memory=lab.memory, busy=lab.busy)


def _labs(releases, check):
    return [_lab(folder, (f"tests/lab/{folder}",)) for folder in _lab_folders()]


def _bench(releases, check):
    lab = Lab(memory=900, busy=0.3, seconds=430, site="bench")
    command = ("/usr/bin/python3", "-B", "-m", "benchmarks", "--quick")
    return [
        Part(
            "benchmarks",
            "bench",
            command,
            "",
            lab=lab,
            seconds=lab.seconds,
            memory=lab.memory,
            busy=lab.busy,
        )
    ]


PARTS = {
    "lint": _lint,
    "unit": _unit,
    "functional": _functional,
    "integration": _integration,
    "lab": _labs,
    "bench": _bench,
}


def _spoken(python):
    return "this Python" if python == "machine" else f"Python {python}"


def lab_name(base, part):
    """
    The name of a part's lab, at most 16 characters, another one for each part and each ``LAB``.

    base
        ``LAB``.
    """
    word = part.name.removeprefix("lab ")
    name = f"{base}-{word}"
    if len(name) <= 16:
        return name
    return f"{word[:9].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def base_name():
    """``LAB``, but never that of a demo, which stays up."""
    name = os.environ.get("LAB") or "test"
    return "test" if name == "failback" else name
