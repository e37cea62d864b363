"""The pages of a run and of a pair: whom they ask, and what they say of a node that says nothing."""

import asked_minions
import pytest
import samples

pytestmark = pytest.mark.one_release(but="the first case")

BOTH = ["salt1", "salt2"]
RECORD = {
    "run": samples.RUN,
    "pair": "salt",
    "operation": "recover",
    "started": samples.SINCE,
    "backup": False,
}
DETAILS = {"record": {**RECORD, "result": "succeeded", "sentence": "It is served."}, "files": [], "log": []}
NOTHING = {"record": None, "files": [], "log": []}


def said(of_salt1, of_salt2=asked_minions.SILENT):
    return asked_minions.of_node(salt1=of_salt1, salt2=of_salt2)


@pytest.mark.parametrize(("given", "names"), [({}, 500), ({"names": 3}, 3), ({"names": 0}, 0)])
def test_the_page_of_a_run_is_what_both_nodes_have_kept(run, minions, given, names):
    minions.answers = {"pair.run_details": said(DETAILS, NOTHING)}
    answer = run("pair.report", samples.RUN, **given)
    assert set(answer) == {"page"} and answer["page"].startswith("<!DOCTYPE html>")
    assert samples.RUN in answer["page"] and "It is served." in answer["page"]
    (asked,) = minions.asked
    assert (asked.nodes, asked.args) == (BOTH, ["salt", samples.RUN])
    assert asked.kwargs == {"names": names, "lines": 500}


def test_a_node_that_says_nothing_of_a_run_is_on_its_page_and_in_the_exit_status(run, minions):
    minions.answers = {"pair.run_details": said(DETAILS)}
    answer = run("pair.report", samples.RUN)
    assert answer["retcode"] == 1
    assert "salt2 said nothing of this run: salt2 does not answer pair.run_details" in answer["page"]


@pytest.mark.parametrize("silent", [True, False])
def test_a_run_that_no_node_knows_has_no_page(run, minions, silent):
    minions.answers = {"pair.run_details": said(NOTHING) if silent else NOTHING}
    answer = run("pair.report", samples.RUN)
    assert answer["retcode"] == 1 and "page" not in answer
    known = (
        f"No node of salt knows the run {samples.RUN}. `salt-run pair.history salt` lists those there are."
    )
    assert answer["error"].startswith(known)
    assert ("salt2 does not answer" in answer["error"]) is silent
    assert answer["error"] == answer["error"].strip()


@pytest.mark.parametrize("run_id", ["20261122T183000-recover-sa..lt-4f2a", 7, ["salt"], "salt1"])
def test_what_is_neither_a_run_nor_a_pair_has_no_page(run, minions, run_id):
    answer = run("pair.report", run_id)
    assert answer["retcode"] == 1 and "salt-run pair.report <run or pair>" in answer["error"]
    assert minions.asked == []


def of_pair(**answers):
    found = {"pair.history": [RECORD], "pair.report": asked_minions.normal, "pair.lags": []}
    return {**found, **answers}


def test_the_page_of_a_pair_asks_both_nodes_for_what_they_have_kept(run, minions):
    minions.answers = of_pair()
    answer = run("pair.report", "salt")
    assert set(answer) == {"page"} and "salt, the last 90 days" in answer["page"]
    assert [(one.function, one.nodes, one.args, one.kwargs, one.look) for one in minions.asked] == [
        ("pair.history", BOTH, [], {"pair": "salt"}, 10),
        ("pair.report", BOTH, ["salt"], {}, 10),
        ("pair.lags", BOTH, ["salt"], {}, 10),
    ]


def test_what_is_asked_beside_the_records_is_asked_of_who_has_answered(run, minions):
    minions.answers = of_pair(**{"pair.history": said([RECORD])})
    answer = run("pair.report", "salt")
    assert answer["retcode"] == 1 and "salt2 did not answer: salt2 does not answer" in answer["page"]
    assert [one.nodes for one in minions.asked] == [BOTH, ["salt1"], ["salt1"]]


def test_a_pair_of_which_no_node_answers_has_no_page(run, minions):
    minions.answers = {"pair.history": asked_minions.SILENT}
    answer = run("pair.report", "salt")
    assert answer["retcode"] == 1 and "page" not in answer
    for node in BOTH:
        assert f"{node} does not answer pair.history" in answer["error"]
    assert len(minions.asked) == 1


def test_a_node_of_an_earlier_release_has_a_page_without_its_lags(run, minions):
    minions.answers = of_pair(**{"pair.lags": RuntimeError("'pair.lags' is not available.")})
    answer = run("pair.report", "salt")
    assert set(answer) == {"page"} and "Not on record yet" in answer["page"]


def test_each_node_is_on_the_page_as_it_is_now(run, minions):
    """The order is that of the pillar: primary first."""
    minions.answers = of_pair(**{"pair.report": asked_minions.failed_over})
    page = run("pair.report", "salt")["page"]
    assert page.index(">salt1<") < page.index(">salt2<")
