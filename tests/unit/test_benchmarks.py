"""What the bench makes of its figures; the measuring itself needs the lab."""

import json
import re
import xml.etree.ElementTree as ET

import pytest

from benchmarks import report
from benchmarks import rows
from benchmarks import window
from benchmarks.__main__ import merged
from benchmarks.nodes import configuration
from benchmarks.nodes import overlap
from benchmarks.on_node import tree
from benchmarks.row import Row
from benchmarks.row import at_most
from benchmarks.row import at_most_times
from lab import sites

pytestmark = pytest.mark.one_release


@pytest.mark.parametrize(
    ("notices", "expected"),
    [
        ([], None),
        ([(1.0, "one", False)], None),
        ([(1.0, "one", False), (1.5, "two", True)], -0.5),
        ([(1.0, "two", True), (1.25, "one", False)], 0.25),
        # The latest release counts, and when the other one took it.
        ([(1.0, "one", False), (1.1, "one", True), (1.2, "one", False), (1.3, "two", True)], -0.1),
        # By a lease: a node that renews the address it has, takes nothing.
        ([(0.2, "one", True), (1.0, "one", False), (1.5, "two", True), (2.2, "two", True)], -0.5),
        ([(0.2, "one", True), (1.0, "two", True), (1.2, "one", True), (1.5, "one", False)], 0.5),
    ],
)
def test_how_long_two_held_the_address(notices, expected):
    assert overlap(notices) == (None if expected is None else pytest.approx(expected))


@pytest.fixture
def row():
    made = Row("A title with <&>", "ms", goal="≤ 5 ms", met=at_most(5))
    for what, figures in (("Failback", [1, 2, 9]), ("another & more", [20, 10, 30])):
        for one in figures:
            made.add(what, one)
    return made


def test_a_row_in_figures(row):
    found = report.summary(row)
    assert found["figures"]["Failback"] == {"median": 2, "minimum": 1, "maximum": 9, "runs": 3}
    assert found["ratio"] == {"another & more": 0.1}
    assert found["met"] is True


@pytest.mark.parametrize(
    ("met", "expected"),
    [
        (at_most(2), True),
        (at_most(1.9), False),
        (at_most(1, "nobody"), None),
        (at_most_times(0.1, "another & more"), True),
        (at_most_times(0.09, "another & more"), False),
        (at_most_times(1, "nobody"), None),
    ],
)
def test_goals(row, met, expected):
    row.met = met
    assert report.summary(row)["met"] is expected


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.98765, "0.988"), (12.345, "12.3"), (1234.5, "1,234"), (-0.5, "-0.5")]
)
def test_figures_for_people(value, shown):
    assert report.number(value) == shown


def test_what_is_written(row, tmp_path):
    found = {"name": "some", "measured": "today, load average 0.1", **report.summary(row)}
    report.write([found], "Here.", tmp_path, ["crash", "lag"])
    written = json.loads((tmp_path / "benchmarks.json").read_text())
    assert written["rows"][0]["figures"]["Failback"]["median"] == 2
    page = (tmp_path / "benchmarks.md").read_text()
    assert "not here:** `crash`, `lag` (" in page
    assert "Begun today, load average 0.1." in page
    assert "| Failback | 2 | 1 | 9 | 3 |  |" in page and "**Reached.**" in page
    plots = re.findall(r"!\[\]\((\S+)\)", page)
    assert plots == ["benchmarks/00.svg"]
    tree = ET.parse(tmp_path / plots[0])
    assert "another & more" in [one.text for one in tree.iter() if one.text]


def test_a_row_that_was_measured_under_its_former_name_is_kept(tmp_path):
    kept = {"rows": [{"name": "warm"}, {"name": "lag", "measured": "before"}, {"name": "forgotten"}]}
    (tmp_path / "benchmarks.json").write_text(json.dumps(kept))
    found = merged([{"name": "lag", "measured": "now"}], tmp_path)
    assert found == [{"name": "pre_sync"}, {"name": "lag", "measured": "now"}]


def test_the_pair_of_the_bench_is_what_a_pillar_makes_of_it():
    made = configuration(replicate=["/srv/bench"], watch={"interval": 0.05})
    assert made["replicate"] == [{"path": "/srv/bench", "then": None}]
    assert made["watch"]["interval"] == 0.05 and made["watch"]["patience"] > 0
    assert made["floating_ips"][0]["label"] == "eth0:0"


def test_each_row_that_needs_hosts_has_a_site_that_the_lab_knows():
    assert set(rows.SITES) <= set(rows.ROWS) and set(rows.NOT_QUICK) <= set(rows.ROWS)
    assert {one for one in rows.SITES.values() if one} <= set(sites.SITES)


def test_the_steps_of_a_window_count_from_its_first():
    done = {
        "timeline": [{"step": "begun", "milliseconds": 5.0}, {"step": "ended", "milliseconds": 7.5}],
        "far_timeline": [{"step": "asked", "milliseconds": 100.0}],
    }
    assert window.step_times(done) == [{"begun": 0.0, "ended": 2.5}, {"asked": 0.0}]


def test_a_row_of_nothing_can_be_shown(tmp_path):
    report.write([report.summary(Row("Empty", "ms"))], "Here.", tmp_path)
    assert "not judged" in report.text(report.summary(Row("Empty", "ms", goal="some")))


@pytest.mark.parametrize(("files", "count"), [(1000, 20), (3000, 900)])
def test_a_changed_tree_differs_in_so_many_files(tmp_path, files, count):
    """Also where more files are changed than a folder has."""
    tree.make(f"{tmp_path}/tree", files, 10)
    before = {path.name: path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()}
    tree.change(f"{tmp_path}/tree", count)
    after = {path.name: path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()}
    differ = {name for name in before | after if before.get(name) != after.get(name)}
    assert len(differ) == count
