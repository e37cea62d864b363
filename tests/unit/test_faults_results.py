"""The page of the fault campaign's tables: written from reports, and never from fewer than it counts."""

import pathlib

import pytest

from lab.faults import campaign
from lab.faults import results

pytestmark = pytest.mark.one_release

TREE = pathlib.Path(__file__).resolve().parents[2]


def report(label="recover/rsync/released", broken=()):
    return {"label": label, "hit": True, "broken": list(broken), "gap": 0.3, "overlap": 0.0, "split": 1.0}


def test_the_page_has_the_tables_and_counts_its_runs():
    text = results.page([report(), report(broken=[["service", "Nobody served."]])])
    assert text.startswith(results.HEAD)
    assert "| `rsync` |" in text
    assert text.endswith("2 runs, 1 with a broken invariant, 0 ended before the moment came.\n")
    assert results.counted(text) == 2


def test_a_page_of_more_runs_is_not_overwritten(tmp_path):
    place = tmp_path / "page.md"
    results.write([report(), report()], place)
    before = place.read_text()
    with pytest.raises(results.Fewer, match="counts 2 runs, and only 1 reports are kept here"):
        results.write([report()], place)
    assert place.read_text() == before
    results.write([report()] * 3, place)
    assert results.counted(place.read_text()) == 3


def test_the_command_line_says_so_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign.stage, "folder", lambda: tmp_path)
    with pytest.raises(SystemExit) as ended:
        campaign.main(["--results"])
    assert "delete the page to begin anew" in str(ended.value)


def test_each_page_has_its_own_runs_and_says_alone_what_it_would_forget(tmp_path):
    (tmp_path / "docs").mkdir()
    orchestrations, serving = (tmp_path / one for one in results.PAGES)
    assert results.write_all([report()] * 2, tmp_path) == []
    assert results.counted(orchestrations.read_text()) == 2 and not serving.exists()
    (said,) = results.write_all([report("serving/apart/lasts:20")], tmp_path)
    assert "docs/faults-results.md counts 2 runs" in said
    assert results.counted(orchestrations.read_text()) == 2
    text = serving.read_text()
    assert results.counted(text) == 1 and "| serving | 5 s | 20 s | 90 s |" in text


@pytest.mark.parametrize("page", results.PAGES)
def test_the_pages_of_this_tree_are_of_that_form(page):
    text = (TREE / page).read_text()
    assert text.startswith(results.HEAD)
    assert results.counted(text) > 0
    lines = text.splitlines()
    heads = [line.split(" ")[1] for line in lines if " | opening | " in line or " | 5 s | " in line]
    assert heads == list(results.PAGES[page])
