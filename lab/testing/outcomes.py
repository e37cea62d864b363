"""What came of the tests: read from what ``lab.testing.record`` has written, counted, shown."""

import collections
import dataclasses
import json

#: In the order in which a line names them.
KINDS = ("passed", "failed", "not run", "skipped")
#: How wide their columns are.
WIDTHS = (7, 7, 8, 8)
#: So many of the tests of one part that were not run are named.
NAMED = 5


@dataclasses.dataclass(frozen=True)
class Result:
    """One test: its outcome (one of ``KINDS``), its seconds, and why it failed: a line, and all of it."""

    name: str
    outcome: str
    seconds: float = 0.0
    reason: str = ""
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """
    What one job gave.

    suite
        The row of the table that it is counted in.

    ended
        Why it did not end well, for a job that has no tests or whose process died; else empty.

    processor
        Seconds of a processor that it and the hosts of its lab have used.
    """

    name: str
    suite: str
    seconds: float
    tests: tuple = ()
    ended: str = ""
    processor: float = 0.0

    @property
    def passed(self):
        return not self.ended and not any(test.outcome in ("failed", "not run") for test in self.tests)

    @property
    def counts(self):
        return collections.Counter(test.outcome for test in self.tests)


def read(place):
    """The tests of a record (a path), as a tuple of ``Result``; a test that was not ended is ``not run``."""
    collected, begun, tests = [], set(), {}
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ()
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # cut off with its process
        if "collected" in entry:
            collected = entry["collected"]
        elif "begun" in entry:
            begun.add(entry["begun"])
        else:
            name = entry["ended"]
            why = entry["reason"], entry.get("detail", "")
            tests[name] = Result(name, entry["outcome"], entry["seconds"], *why)
    for name in collected:
        if name not in tests:
            why = "its process ended in the middle of it" if name in begun else "its process had ended"
            tests[name] = Result(name, "not run", reason=why)
    return tuple(tests.values())


def spoken(counts):
    """Counts as a sentence has them: "12 passed, 1 failed"."""
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])


def shown(outcomes, slowest=10):
    """
    What a run ends with, as a list of lines: a row for each suite, what did not pass, why tests were skipped,
    and the slowest tests.
    """
    head = " ".join(f"{kind:>{width}}" for kind, width in zip(KINDS, WIDTHS))
    lines = ["", f"  {'suite':28} {head} {'seconds':>8} {'CPU s':>7}"]
    for suite, found in _by_suite(outcomes).items():
        counts = sum((each.counts for each in found), collections.Counter())
        seconds = sum(each.seconds for each in found)
        bad = [each for each in found if not each.passed]
        row = f"  {suite:28} " + " ".join(
            f"{counts[kind] or '-':>{width}}" for kind, width in zip(KINDS, WIDTHS)
        )
        processor = sum(each.processor for each in found)
        lines.append(f"{row} {seconds:8.0f} {processor:7.0f}{'  FAILED' if bad else ''}")
    lines += _listed("Failed:", _wrong(outcomes))
    lines += _listed("Skipped:", _skips(outcomes))
    tests = [(test.seconds, f"{test.name} ({each.name})") for each in outcomes for test in each.tests]
    slow = sorted(tests, reverse=True)[:slowest]
    lines += _listed("Slowest:", [f"{seconds:6.1f} s  {name}" for seconds, name in slow])
    return lines


def last_line(outcomes, seconds):
    """All of it in one line."""
    counts = sum((each.counts for each in outcomes), collections.Counter())
    minutes, rest = divmod(round(seconds), 60)
    return f"{spoken(counts) or 'no tests'} in {minutes} min {rest} s"


def _by_suite(outcomes):
    suites = {}
    for each in outcomes:
        suites.setdefault(each.suite, []).append(each)
    return suites


def _listed(title, lines):
    return ["", f"  {title}", *(f"    {line}" for line in lines)] if lines else []


def _wrong(outcomes):
    lines = []
    for each in outcomes:
        if each.ended:
            lines.append(f"{each.name}: {each.ended}")
        wrong = [test for test in each.tests if test.outcome in ("failed", "not run")]
        unseen = [test for test in wrong if test.outcome == "not run"]
        for test in wrong:
            if test in unseen[NAMED:]:
                continue
            why = f": {test.reason[:200]}" if test.reason else ""
            lines.append(f"{test.outcome:7}  {test.name} ({each.name}){why}")
        if len(unseen) > NAMED:
            lines.append(f"not run  {len(unseen) - NAMED} more ({each.name})")
    return lines


def _skips(outcomes):
    """By reason, the tests that were skipped for it: each by its name, without its parameters."""
    reasons = {}
    for each in outcomes:
        for test in each.tests:
            if test.outcome == "skipped":
                name = f"{test.name.partition('[')[0]} ({each.name})"
                reasons.setdefault(test.reason, collections.Counter())[name] += 1
    lines = []
    for reason, names in reasons.items():
        lines.append(f"{sum(names.values())} because {reason}")
        lines += [f"    {name}{f' × {count}' if count > 1 else ''}" for name, count in names.items()]
    return lines
