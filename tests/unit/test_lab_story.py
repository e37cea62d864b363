"""The pages that a demo leaves."""

import types

import pytest

from lab import story

pytestmark = pytest.mark.one_release


class Master:
    """A host whose master prints what it was told to."""

    name = "salt1"

    def __init__(self, text):
        self._text, self.asked = text, []

    def run(self, argv, **_):
        self.asked.append(argv)
        return types.SimpleNamespace(stdout=self._text)


@pytest.fixture
def told(monkeypatch, tmp_path):
    monkeypatch.setattr(story, "PAGES", tmp_path)
    monkeypatch.setattr(story, "Site", lambda lab, site: types.SimpleNamespace(hosts=[]))
    return story.Story("t1", "salt")


PAGE = "<!DOCTYPE html>\n<html>\n</html>\n"


def test_a_page_is_left_as_it_was_printed(told, tmp_path):
    master = Master(PAGE)
    place = told.page(master, "salt", "pair")
    assert place == tmp_path / "t1/pair.html" and place.read_text() == PAGE
    assert master.asked == [["salt-run", "pair.report", "salt"]]


@pytest.mark.parametrize("text", ["", "No node knows the run.\n", PAGE[:-2], f"[WARNING] x\n{PAGE}"])
def test_what_is_no_page_is_not_left(told, tmp_path, text):
    with pytest.raises(story.Failed, match="printed no page"):
        told.page(Master(text), "salt", "pair")
    assert list(tmp_path.iterdir()) == []
