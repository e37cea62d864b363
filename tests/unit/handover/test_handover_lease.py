"""A handover of a pair with a lease, which is passed on, given back, or waited for: never do two have it."""

import json

import pytest
import samples
from handover_cases import MOMENTS
from handover_cases import SALT1
from handover_cases import SALT2_AS_BEFORE
from handover_cases import die_at
from handover_cases import kill
from leased_world import TTL
from leased_world import leased_world
from two_nodes import Killed

from failback.decisions import lease
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.handover import claims
from failback.handover import takeover
from failback.handover import taker
from failback.lease import right
from failback.network import address_holder
from failback.network import floating
from failback.state import ledger


@pytest.fixture
def leased(tmp_path, monkeypatch):
    return leased_world(tmp_path, monkeypatch)


@pytest.fixture(params=["with paths", "without paths"])
def either(request, tmp_path, monkeypatch):
    """A pair with replicated paths is given away after the release, one without them before it."""
    changes = {} if request.param == "with paths" else {"replicate": []}
    return leased_world(tmp_path, monkeypatch, **changes)


def deadline(world):
    """The timer goes off, and its unit is started again each second while it fails."""
    try:
        return world.deadline()
    except FailbackError:
        for _ in range(30):
            world.now += 1
            try:
                return world.far_end("take_back", samples.RUN)
            except FailbackError:
                continue
        raise


def rights(world):
    """Who may serve now, each by what it remembers."""
    found = []
    for node in world.members:
        with world.on(node) as member:
            if right.in_force(member):
                found.append(node)
    return found


def test_the_lease_goes_with_the_addresses(either):
    begun = either.now
    final_sync = None if not either.members["salt1"].config["replicate"] else lambda limit: None
    either.bring_home(final_sync)
    assert either.serving() == "salt1"
    assert either.cluster.holder == ("salt1", 5)
    assert rights(either) == ["salt1"]
    assert right.read(either.members["salt1"]).right.asked >= begun


@pytest.mark.parametrize(("moment", "killed", "unplugged"), MOMENTS)
def test_the_taker_is_killed(leased, monkeypatch, moment, killed, unplugged):
    with pytest.raises(Killed):
        leased.bring_home(die_at(leased, monkeypatch, moment, kill))
    if killed is SALT2_AS_BEFORE:
        leased.run_for(1)
        assert leased.serving() == "salt2", "not at once, but only at the deadline"
    deadline(leased)
    assert (leased.serving(), leased.ledgers()) == killed
    if killed is not SALT1:
        assert leased.cluster.holder == ("salt2", leased.ledgers()[1][0])


@pytest.mark.parametrize(("moment", "killed", "unplugged"), MOMENTS)
def test_the_taker_loses_power(leased, monkeypatch, moment, killed, unplugged):
    def die():
        leased.lose_power("salt1")
        raise Killed

    final_sync = die_at(leased, monkeypatch, moment, die)
    monkeypatch.setattr(taker.PeerConnection, "__exit__", lambda *_: None)
    with pytest.raises(Killed):
        leased.bring_home(final_sync)
    passed_on = leased.cluster.holder[0] == "salt1"
    at = leased.cluster.written
    deadline(leased)
    assert (leased.serving(), leased.ledgers()) == unplugged
    # What was passed on has run out before.
    assert not passed_on or leased.now >= at + TTL


def test_a_taker_that_fails_gives_the_lease_back_and_the_giver_serves_at_once(leased):
    def too_late():
        raise Unavailable("the interface is gone.")

    leased.hooks[("salt1", "take")] = too_late
    with pytest.raises(Unavailable, match="salt2 serves again"):
        leased.bring_home()
    assert leased.serving() == "salt2"
    assert leased.cluster.holder == ("salt2", 6)
    assert rights(leased) == ["salt2"]


def test_without_etcd_nothing_is_released(leased):
    leased.cluster.gone = True
    leased.hooks[("salt2", "release")] = lambda: pytest.fail("released")
    with pytest.raises(Refused, match="cannot be passed on, so salt2 serves on"):
        leased.bring_home()
    assert leased.serving() == "salt2"
    assert leased.ledgers() == [(3, "salt1"), (4, "salt2")]


def test_etcd_goes_in_the_window_and_the_giver_serves_on_by_its_own_right(leased):
    def gone():
        leased.cluster.gone = True

    leased.hooks[("salt2", "released")] = gone
    with pytest.raises(Unavailable):
        leased.bring_home()
    leased.cluster.gone = False
    deadline(leased)
    assert leased.serving() == "salt2"
    assert leased.cluster.holder[0] == "salt2"


def test_a_takeover_waits_for_the_lease_and_gives_it_back_when_it_fails(leased, monkeypatch):
    leased.lose_power("salt2")
    with leased.on("salt1") as member:
        member.lock.release(samples.RUN)
        member.ledger.write(takeover.ledger.Entry(4, "salt2", None, "a test"))
        right.look(member)
        assert "salt2 has the lease of salt still" in right.takeover_refusal(member)
        with pytest.raises(Refused, match="for another 9"):
            takeover.take_over(member, "silence")
        assert member.ledger.read()["generation"] == 4
        leased.now += TTL
        right.look(member)
        assert right.takeover_refusal(member) is None

        leased.hooks[("salt1", "take")] = lambda: (_ for _ in ()).throw(Unavailable("no interface"))
        with pytest.raises(Unavailable, match="no interface"):
            takeover.take_over(member, "silence")
        assert leased.cluster.holder == (None, 5)
        assert right.in_force(member) is None

        assert takeover.take_over(member, "silence")["generation"] == 6
        assert leased.cluster.holder == ("salt1", 6)
        assert leased.serving() == "salt1"


def test_a_takeover_asks_nobody_while_etcd_has_long_been_silent(leased):
    with leased.on("salt1") as member:
        assert "has not seen its lease yet" in right.takeover_refusal(member)
        right.look(member)
        leased.now += TTL + 1
        assert "etcd has not answered" in right.takeover_refusal(member)


def test_a_promise_keeps_this_node_from_the_lease_even_when_it_has_run_out(leased):
    with leased.on("salt1") as member:
        member.ledger.write(takeover.ledger.Entry(4, "salt2", None, "a test"))
        right.look(member)
        leased.now += TTL - 1
        assert right.promise(member, 4) == TTL
        leased.now += 2
        with pytest.raises(Refused, match="has promised to take nothing"):
            right.obtain(member, 5)
        leased.now += TTL
        assert right.obtain(member, 5).generation == 5
        with pytest.raises(Refused, match="until just now"):
            right.promise(member, 4)


def test_a_lost_answer_does_no_harm(leased, monkeypatch):
    """It was written all the same: the next renewal finds this node's own write."""
    real = leased.cluster.replace

    def unheard(*arguments):
        real(*arguments)
        leased.cluster.replace = real
        raise Unavailable("etcd does not answer.")

    leased.cluster.replace = unheard
    with leased.on("salt2") as member:
        before = right.in_force(member)
        with pytest.raises(Unavailable, match="does not promise"):
            right.renew(member, 4)
        assert right.in_force(member) == before
        leased.now += 1
        assert right.renew(member, 4).asked == leased.now
    assert leased.cluster.holder == ("salt2", 4)


def test_a_renewal_that_finds_another_holder_ends_the_right(leased):
    leased.cluster.value = {"holder": "salt1", "generation": 5, "ttl": TTL}
    leased.cluster.revision += 1
    with leased.on("salt2") as member:
        with pytest.raises(Refused):
            right.renew(member, 4)
        assert right.in_force(member) is None


def test_a_giver_that_dies_before_its_ledger_has_raised_nothing_and_the_taker_may_serve(leased, monkeypatch):
    """It takes the pair back in a generation of its own, and no disk says so yet."""
    leased.hooks[("salt1", "take")] = lambda: (_ for _ in ()).throw(Unavailable("no interface"))
    whole = ledger.Ledger.write

    def write(self, entry, prepared=None):
        if entry.why == "nobody answered after a handover":
            raise Killed
        return whole(self, entry, prepared)

    monkeypatch.setattr(ledger.Ledger, "write", write)
    with pytest.raises((Killed, FailbackError)):
        leased.bring_home()
    assert (leased.cluster.holder, leased.cluster.value.get("claims")) == (("salt2", 5), 6)
    with leased.on("salt1") as member:
        right.look(member)
        leased.now += TTL
        assert right.obtain_as_active(member, 5).generation == 5
    assert (leased.cluster.holder, leased.cluster.value.get("claims")) == (("salt1", 5), None)


@pytest.fixture
def claiming(leased):
    """salt2 has lost its power in generation 4, and salt1 has claimed the next one."""
    leased.lose_power("salt2")
    with leased.on("salt1") as member:
        member.lock.release(samples.RUN)
        member.ledger.write(ledger.Entry(4, "salt2", None, "a test"))
        right.look(member)
        leased.now += TTL
        right.obtain(member, 5, claims=True)
    return leased


def test_a_claim_leaves_the_generation_in_the_key_until_the_addresses_are_taken(claiming):
    assert claiming.cluster.value == {
        "holder": "salt1", "generation": 4, "claims": 5, "ttl": TTL, "boot": claiming.cluster.value["boot"],
    }  # fmt: skip
    with claiming.on("salt1") as member:
        right.renew(member, 5)
        assert claiming.cluster.value["claims"] == 5, "the guard renews what was claimed"
        member.ledger.write(ledger.Entry(5, "salt1", None, "a test"))
        wanted = floating.of_pair(member.config)
        claiming.now += 1
        with address_holder.Holder(wanted) as holder:
            right.take(member, holder, wanted)
        assert (claiming.cluster.holder, "claims" in claiming.cluster.value) == (("salt1", 5), False)
        assert right.in_force(member) == lease.Right(5, claiming.now, TTL)
        revision = claiming.cluster.revision
        with address_holder.Holder(wanted) as holder:
            right.take(member, holder, wanted)
        assert claiming.cluster.revision == revision
    assert claiming.serving() == "salt1"


def test_nothing_is_taken_by_a_claim_that_etcd_does_not_know_any_more(claiming):
    with claiming.on("salt1") as member:
        wanted = floating.of_pair(member.config)
        claiming.cluster.gone = True
        with address_holder.Holder(wanted) as holder:
            with pytest.raises(Unavailable):
                right.take(member, holder, wanted)
            claiming.cluster.gone = False
            claiming.cluster.revision += 1
            claiming.cluster.value = {"holder": "salt2", "generation": 4, "ttl": TTL}
            with pytest.raises(Refused, match="salt1 does not have the lease of salt any more"):
                right.take(member, holder, wanted)
    assert claiming.serving() == "nobody"


def test_a_claim_that_is_given_back_leaves_the_generation_before_it(claiming):
    with claiming.on("salt1") as member:
        right.give_back(member)
    assert (claiming.cluster.holder, claiming.cluster.value.get("claims")) == ((None, 4), None)


def test_a_claim_that_the_guard_renews_in_that_moment_is_ended_all_the_same(claiming):
    real = claiming.cluster.replace

    def renewed_first(key, revision, value, within):
        claiming.cluster.replace = real
        claiming.cluster.revision += 1
        return real(key, revision, value, within)

    claiming.cluster.replace = renewed_first
    with claiming.on("salt1") as member:
        wanted = floating.of_pair(member.config)
        with address_holder.Holder(wanted) as holder:
            right.take(member, holder, wanted)
    assert claiming.cluster.holder == ("salt1", 5)


def test_a_generation_that_the_other_node_claims_is_not_claimed_here_too(claiming):
    claiming.boot("salt2")
    with claiming.on("salt2") as member:
        member.ledger.write(ledger.Entry(4, "salt2", None, "a test"))
        right.look(member)
        claiming.now += TTL
        assert claims.next_generation(member, member.ledger.read()) == 6
        assert right.takeover_refusal(member) is None
        right.obtain(member, 4)
    assert (claiming.cluster.holder, claiming.cluster.value.get("claims")) == (("salt2", 4), None)


def test_an_earlier_release_can_read_what_a_node_remembers_of_a_claim(claiming):
    """It makes a key of all the fields that it finds there."""
    found = json.loads(right.place(claiming.members["salt1"]).read_text())
    assert set(found["key"]) == {"revision", "holder", "generation", "ttl", "since"}
    assert found["claims"] == 5
    with claiming.on("salt1") as member:
        assert right.read(member).key.claims == 5


def test_a_claim_that_cannot_be_read_is_refused(claiming):
    claiming.cluster.revision += 1
    claiming.cluster.value = {"holder": "salt1", "generation": 4, "ttl": TTL, "claims": "the next one"}
    with claiming.on("salt1") as member, pytest.raises(Refused, match="no usable holder and generation"):
        right.look(member)


def test_a_node_that_gave_the_pair_away_has_no_right_that_could_run_out_later(either):
    either.bring_home(None if not either.members["salt1"].config["replicate"] else lambda limit: None)
    assert right.read(either.members["salt2"]).right is None


def test_what_was_over_is_forgotten_where_the_node_does_not_serve_but_not_within_its_time(leased):
    with leased.on("salt1") as member:
        right.change(member, right=lease.Right(3, leased.now, TTL), released={"generation": 3, "stopped": []})
        leased.now += TTL - 0.5
        right.forget_what_is_over(member)
        assert right.read(member).right, "nothing is promised before its end"
        leased.now += 0.5
        right.forget_what_is_over(member)
        assert (right.read(member).right, right.read(member).released) == (None, None)
