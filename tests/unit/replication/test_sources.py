"""Where the data lie is recorded once, and anew only when an operator says that they were moved."""

import json

import pytest
import samples

from failback.errors import Unreadable
from failback.host.paths import Paths
from failback.pair import Member
from failback.replication import sources

PEER = {"/srv/salt": {"exists": True, "empty": False, "kind": "directory", "file_system": None, "below": []}}


@pytest.fixture
def member(tmp_path):
    (tmp_path / "srv/salt").mkdir(parents=True)
    return Member.of(samples.pair("salt1"), Paths(tmp_path))


def own(member):
    return sources.recorded(member)["own"]["/srv/salt"]["file_system"]


def test_what_is_recorded_is_known(member):
    assert sources.recorded(member) == {"own": None, "peer": None}
    assert sources.misplaced(member) == {}
    # Of this node's own pillar: what the other one names beside it is not looked at here.
    sources.record(member, {**PEER, "/etc/shadow": PEER["/srv/salt"]})
    found = sources.recorded(member)
    assert list(found["own"]) == list(found["peer"]) == ["/srv/salt"]
    assert found["peer"] == PEER
    assert found["own"] == sources.facts(["/srv/salt"], str(member.paths.root))


def test_a_path_of_which_the_other_node_says_nothing_is_not_recorded(member):
    sources.record(member, {})
    assert sources.recorded(member) == {"own": {}, "peer": {}}


def test_what_lies_elsewhere_is_no_news_until_somebody_says_so(member):
    samples.lies_elsewhere(member)
    before = own(member)
    assert list(sources.misplaced(member)) == ["/srv/salt"]
    sources.record(member, PEER)
    assert own(member) == before and list(sources.misplaced(member)) == ["/srv/salt"]
    sources.record(member, PEER, moved=True)
    assert own(member) != before and sources.misplaced(member) == {}


def test_a_node_alone_records_its_own_and_keeps_what_it_knows_of_the_other(member):
    sources.record(member, PEER)
    place = member.state / "sources.json"
    known = json.loads(place.read_text())
    known["own"] = None
    place.write_text(json.dumps(known))
    sources.record_moved(member)
    assert sources.recorded(member)["peer"] == PEER and own(member) is not None


@pytest.mark.parametrize("content", ["torn", '{"version": 99}'])
def test_a_record_that_cannot_be_read_is_written_anew_by_an_operator_s_word_alone(member, content):
    sources.record(member, PEER)
    (member.state / "sources.json").write_text(content)
    for call in (sources.recorded, sources.misplaced, lambda member: sources.record(member, PEER)):
        with pytest.raises(Unreadable, match="the record of where the paths of salt lie"):
            call(member)
    sources.record_moved(member)
    assert sources.recorded(member)["peer"] is None and sources.misplaced(member) == {}
