"""A node's right to serve: what it asks etcd and the other node for, what it writes down, what it refuses."""

import contextlib
import dataclasses
import json

import pytest
import samples
from leased_world import LEASE
from leased_world import TTL
from leased_world import Cluster

from failback.decisions import lease
from failback.errors import Refused
from failback.errors import Unavailable
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.lease import etcd
from failback.lease import right
from failback.network.floating import FloatingAddress
from failback.pair import Member
from failback.peer import ssh
from failback.state import ledger

GATEWAY = FloatingAddress("10.0.0.5/24", "eth0", "eth0:0", "salt-gw")


class Node:
    """salt1 of a pair with a lease, its clock, etcd, and what the other node says to a request."""

    def __init__(self, folder, monkeypatch):
        self.now, self.asked, self.answer = 1000.0, [], Unavailable("salt2 does not answer")
        self.member = Member.of(samples.pair("salt1", lease=dict(LEASE)), Paths(folder))
        files.make_folder(self.member.volatile)
        self.cluster = Cluster(lambda: self.now)
        monkeypatch.setattr(system, "boottime", lambda: self.now)
        monkeypatch.setattr(right, "client", lambda member: self.cluster)
        monkeypatch.setattr(ssh, "ask", self.ask)
        monkeypatch.setattr(right.select, "select", lambda *words: self.passes(words[-1]))
        self.locked = 0
        self._watch_the_lock(monkeypatch)

    def _watch_the_lock(self, monkeypatch):
        """The record is written under its lock alone, and etcd is asked outside of it: that may last."""
        lock, write = files.locked, files.write_json

        @contextlib.contextmanager
        def locked(path):
            with lock(path):
                self.locked += path.name == ".lease.flock"
                try:
                    yield
                finally:
                    self.locked -= path.name == ".lease.flock"

        def written(path, *words, **how):
            assert path.name != "lease.json" or self.locked == 1
            write(path, *words, **how)

        monkeypatch.setattr(files, "locked", locked)
        monkeypatch.setattr(files, "write_json", written)
        for name in ("read", "replace"):
            call = getattr(self.cluster, name)
            setattr(self.cluster, name, lambda *words, call=call: self.asks(words[-1]) and call(*words))

    def asks(self, within):
        """etcd is asked for so many seconds: after its silence there must be time for a promise."""
        assert self.locked == 0, "whoever waits for the record would wait for etcd"
        assert within in (TTL * lease.ASK_ETCD_WITHIN, right.PASS_ON_WITHIN)
        return True

    def forgets(self, content=None):
        """Somebody has written the record anew by hand, or a reboot has removed it."""
        right.place(self.member).write_text(json.dumps(content or {}))

    def passes(self, seconds):
        self.now += seconds

    def ask(self, member, *words, timeout):
        self.asked.append((*words, timeout))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def serves(self, generation=4):
        """It serves by the lease."""
        self.member.ledger.write(ledger.Entry(generation, "salt1", None, "a test"))
        return right.obtain_as_active(self.member, generation)

    def belongs_to(self, holder, generation=4, **more):
        """etcd has this in its key, and this node has seen it."""
        self.cluster.revision += 1
        self.cluster.value = {"holder": holder, "generation": generation, "ttl": TTL, "boot": None, **more}
        return right.look(self.member)

    @property
    def record(self):
        return right.read(self.member)

    def during(self, call):
        """Have something done while etcd is asked to write, before it does."""
        replace, left = self.cluster.replace, [call]

        def slow(*words):
            if left:
                left.pop()()
            return replace(*words)

        self.cluster.replace = slow


@pytest.fixture
def node(tmp_path, monkeypatch):
    return Node(tmp_path, monkeypatch)


@pytest.fixture
def unleased(tmp_path):
    return Member.of(samples.pair("salt1"), Paths(tmp_path))


def test_where_the_pair_has_no_lease_nothing_is_asked_and_nothing_is_written(unleased):
    class Holder:
        def take(self, wanted, check):
            return [wanted, check]

    assert right.status(unleased) is None and right.takeover_refusal(unleased) is None
    assert right.above_the_claim(unleased) == 0
    assert right.obtain(unleased, 4) is None and right.obtain_as_active(unleased, 4) is None
    assert right.pass_on(unleased, 5) is None and right.accept(unleased, 5, 0.0, None) is None
    with right.to_take_over(unleased, 5, patient=True):
        pass
    right.require_to_give(unleased)
    right.give_back(unleased)
    right.forget_what_is_over(unleased)
    assert right.take(unleased, Holder(), [GATEWAY]) == [[GATEWAY], False]
    with pytest.raises(Refused, match="salt has no lease on salt1: run highstate"):
        right.promise(unleased, 4)
    assert not list(unleased.paths.root.rglob("lease*"))


def test_the_cluster_is_asked_as_the_pillar_says_and_by_the_clock_of_the_boot(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(etcd, "Client", lambda *words, **more: made.append((words, more)))
    settings = {**LEASE, "endpoints": ["https://10.0.0.91:2379"], "tls": {"ca": "ca"}}
    right.client(Member.of(samples.pair("salt1", lease=settings), Paths(tmp_path)))
    # That of the boot goes on while the machine is suspended.
    assert made == [((settings["endpoints"], {"ca": "ca"}), {"clock": system.boottime})]


# --- asking etcd -----------------------------------------------------------------------------------------


def test_the_right_counts_from_the_moment_at_which_it_was_asked_for(node):
    node.during(lambda: node.passes(1.0))
    found = node.serves()
    assert found == lease.Right(4, 1000.0, TTL, lease.LEASE)
    record = node.record
    assert record.right == found and record.acquiring is None and record.answered == 1001.0
    assert record.key == lease.Key(1, "salt1", 4, TTL, 1001.0)
    assert node.cluster.value == {"holder": "salt1", "generation": 4, "ttl": TTL, "boot": system.boot_id()}
    # While it is in force it is not asked for again; one of another generation is.
    node.cluster.gone = True
    assert right.obtain(node.member, 4) == found
    with pytest.raises(Unavailable):
        right.obtain(node.member, 5)
    node.now = found.until
    with pytest.raises(Unavailable):
        right.obtain(node.member, 4)


def test_a_lease_that_comes_too_late_is_none(node):
    node.during(lambda: node.passes(TTL - lease.MARGIN))
    with pytest.raises(Unavailable, match="etcd took longer to grant the lease of salt than it lasts"):
        right.obtain(node.member, 4, create=True)
    assert right.in_force(node.member) is None


def test_while_it_is_asked_for_nothing_is_promised(node):
    """The answer may be lost: nobody knows then whether this node has the lease."""
    node.member.ledger.write(ledger.Entry(4, "salt2", None, "a test"))
    seen = []

    def look():
        seen.append(node.record.acquiring)
        with pytest.raises(Refused, match="about to take over"):
            right.promise(node.member, 4)
        raise Unavailable("the answer is lost")

    node.during(look)
    with pytest.raises(Unavailable, match="takes nothing of salt: the answer is lost"):
        right.obtain(node.member, 5, create=True)
    assert seen == [1000.0 + TTL + lease.MARGIN] == [node.record.acquiring]
    node.now = node.record.acquiring
    assert right.promise(node.member, 4) == TTL


def test_only_one_who_may_creates_it(node):
    with pytest.raises(Refused, match="Nobody has had the lease of salt yet"):
        right.obtain(node.member, 4)
    assert node.cluster.value is None
    assert right.obtain(node.member, 4, create=True)


def test_what_another_node_has_is_looked_at_anew_before_it_refuses(node):
    node.belongs_to("salt2")
    with pytest.raises(Refused, match="salt2 has the lease of salt, for another 10.0 s"):
        right.obtain(node.member, 5)
    # It has given it back since, and nobody has told this node.
    node.cluster.value = {**node.cluster.value, "holder": None}
    node.cluster.revision += 1
    assert right.obtain(node.member, 5).generation == 5


def test_one_waits_for_the_end_of_anothers_right_no_longer_than_it_is_told_to(node):
    node.belongs_to("salt2", 4)
    with pytest.raises(Refused, match="salt2 has the lease"):
        right.obtain(node.member, 5, wait=3.0)
    assert node.now == 1003.0
    assert right.obtain(node.member, 5, wait=8.0).asked == 1010.0


def test_a_node_that_takes_over_waits_only_when_it_is_patient(node):
    node.belongs_to("salt2", 4)
    with pytest.raises(Refused), right.to_take_over(node.member, 5):
        pytest.fail("without the right")
    assert node.now == 1000.0
    with right.to_take_over(node.member, 5, patient=True):
        assert node.now == 1010.0 and right.in_force(node.member).generation == 5
        # It has no address yet: the key says so.
        assert node.cluster.value["generation"] == 4 and node.cluster.value["claims"] == 5
    assert node.cluster.holder == ("salt1", 4)


@pytest.mark.parametrize("error", [Unavailable("a"), OSError(28, "No space left")])
def test_a_takeover_that_fails_gives_the_lease_back_at_once(node, error):
    node.belongs_to(None, 4)
    with pytest.raises(type(error)), right.to_take_over(node.member, 5):
        raise error
    assert node.cluster.holder == (None, 4) and right.in_force(node.member) is None
    assert node.record.key == lease.Key(3, None, 4, TTL, 1000.0)


def test_an_own_write_of_which_the_answer_was_lost_is_found_again(node):
    """etcd then has another revision than this node knows."""
    node.serves()
    node.during(lambda: setattr(node.cluster, "revision", 7))
    node.passes(TTL)
    assert right.obtain(node.member, 4).asked == node.now
    assert node.record.key.revision == 8 and node.record.acquiring is None


def test_another_node_that_was_faster_is_refused_to(node):
    node.belongs_to(None, 4)
    node.during(lambda: setattr(node.cluster, "value", {"holder": "salt2", "generation": 5, "ttl": TTL}))
    replace = node.cluster.replace
    node.cluster.replace = lambda key, revision, *words: replace(key, revision - 1, *words)
    with pytest.raises(Refused, match="salt2 has the lease of salt for generation 5"):
        right.obtain(node.member, 5)
    assert node.record.acquiring is None and node.record.key.holder == "salt2"


def test_a_key_that_changes_all_the_time_is_given_up(node):
    node.serves()
    node.passes(TTL)
    tried = []

    def never(key, revision, *_):
        tried.append(revision)
        return False, (len(tried) + 50, node.cluster.value)

    node.cluster.replace = never
    for call in (
        lambda: right.obtain(node.member, 4),
        lambda: right.pass_on(node.member, 5),
    ):
        tried.clear()
        with pytest.raises(Refused, match="changes all the time"):
            call()
        assert len(tried) == right.TRIES


def test_renewing_spends_a_right_only_when_etcd_shows_another_holder(node):
    found = node.serves()
    node.passes(2.0)
    assert right.renew(node.member, 4) == dataclasses.replace(found, asked=1002.0)
    node.cluster.gone = True
    before = node.record.right
    with pytest.raises(Unavailable, match="salt2 does not promise to leave it alone: salt2 does not answer"):
        right.renew(node.member, 4)
    assert node.record.right == before
    node.cluster.gone = False
    # One that was given back: nobody serves, and what this node was granted lasts.
    node.cluster.value, node.cluster.revision = {"holder": None, "generation": 5, "ttl": TTL}, 9
    with pytest.raises(Refused, match="generation 5"):
        right.renew(node.member, 4)
    assert node.record.right == before
    node.cluster.value, node.cluster.revision = {"holder": "salt2", "generation": 5, "ttl": TTL}, 10
    with pytest.raises(Refused, match="generation 5"):
        right.renew(node.member, 4)
    assert node.record.right == right.SPENT and right.in_force(node.member) is None


def test_a_right_that_another_process_has_got_since_is_not_spent(node):
    node.serves()
    newer = lease.Right(6, 1001.0, TTL)

    def other():
        node.cluster.value, node.cluster.revision = {"holder": "salt2", "generation": 6, "ttl": TTL}, 9
        right.change(node.member, right=newer)

    node.during(other)
    with pytest.raises(Refused):
        right.renew(node.member, 4)
    assert node.record.right == newer


def test_where_there_is_no_key_yet_the_first_write_has_its_own_first_generation(node):
    """Of a key that is not there the record says 0: nobody has had an address in it."""
    record = right.look(node.member)
    assert record.key == lease.Key(0, None, 0, 0.0, 1000.0) and record.answered == 1000.0


# --- the other node's promise --------------------------------------------------------------------------


@pytest.mark.parametrize(("promised", "ttl"), [("7.5", 7.5), ("99", TTL)])
def test_while_etcd_is_silent_the_other_nodes_promise_is_as_good_for_its_time(node, promised, ttl):
    node.cluster.gone = True
    node.answer = f'noise\n{{"promised": {promised}}}\n'
    with pytest.raises(Unavailable, match="Start a majority of etcd's members"):
        right.obtain(node.member, 4, create=True)
    assert node.asked == []
    found = right.obtain_as_active(node.member, 4)
    assert found == lease.Right(4, 1000.0, ttl, lease.PROMISE) == node.record.right
    assert node.asked == [("promise", "4", 3.0)]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("no answer at all", "salt2 sent no answer that can be read"),
        ('{"promised": null}', "does not promise to leave it alone"),
        ('{"promised": "x"}', "does not promise to leave it alone"),
        (Refused("it has taken over"), "it has taken over"),
    ],
)
def test_what_is_no_promise_is_none(node, answer, said):
    node.cluster.gone, node.answer = True, answer
    with pytest.raises(Unavailable, match=said) as raised:
        right.obtain_as_active(node.member, 4)
    assert str(raised.value).startswith("etcd does not answer.")
    assert node.record.right is None


def test_a_promise_that_comes_too_late_is_none(node, monkeypatch):
    def late(*_, **__):
        node.passes(TTL)
        return f'{{"promised": {TTL}}}'

    node.cluster.gone = True
    monkeypatch.setattr(ssh, "ask", late)
    with pytest.raises(Unavailable, match="The promise of salt2 came too late"):
        right.obtain_as_active(node.member, 4)
    assert right.in_force(node.member) is None


@pytest.mark.parametrize(
    ("own", "admitted", "asked", "promises"),
    [
        ((4, "salt2"), True, 4, True),
        ((4, "salt2"), False, 4, True),
        ((3, "salt1"), False, 4, True),
        # It serves itself, by its ledger.
        ((3, "salt1"), True, 4, False),
        ((4, "salt1"), True, 4, False),
        ((5, "salt2"), True, 4, False),
        (None, True, 4, False),
    ],
)
def test_a_promise_is_written_down_before_it_is_given_and_keeps_this_node_from_taking(
    node, own, admitted, asked, promises
):
    if own:
        boot = {} if admitted else {"boot_id": "another"}
        node.member.ledger.write(ledger.Entry(*own, None, "a test"))
        text = json.loads(node.member.ledger.path.read_text())
        files.write_json(node.member.ledger.path, {**text, **boot})
    if not promises:
        with pytest.raises(Refused):
            right.promise(node.member, asked)
        assert node.record.promised_until is None
        return
    assert right.promise(node.member, asked) == TTL
    assert node.record.promised_until == 1000.0 + TTL
    with pytest.raises(Refused, match="salt1 has promised to take nothing of salt"):
        right.obtain(node.member, 5, create=True)
    node.passes(TTL)
    assert right.obtain(node.member, 5, create=True)
    assert node.record.promised_until is None


def test_a_node_that_had_the_right_itself_does_not_promise_before_it_is_over(node):
    node.serves(3)
    node.member.ledger.write(ledger.Entry(4, "salt2", None, "a test"))
    node.now = 1000.0 + TTL - 0.1
    with pytest.raises(Refused, match="has had the right to serve itself until just now"):
        right.promise(node.member, 4)
    node.now = 1000.0 + TTL
    assert right.promise(node.member, 4) == TTL


# --- passing it on -------------------------------------------------------------------------------------


def test_the_other_node_becomes_the_holder_and_this_one_has_no_right_whatever_happens(node):
    node.serves()
    seen = []
    node.during(lambda: seen.append(right.in_force(node.member)))
    node.passes(1.0)
    assert right.pass_on(node.member, 5) == {"revision": 2, "ttl": TTL}
    assert seen == [None] and node.record.right is None
    assert node.cluster.holder == ("salt2", 5) and node.cluster.value["boot"] is None
    assert node.record.key == lease.Key(2, "salt2", 5, TTL, 1001.0)


@pytest.mark.parametrize("known", [True, False])
def test_what_this_node_does_not_have_it_does_not_pass_on(node, known):
    node.belongs_to("salt2", 5)
    if not known:
        node.forgets()
    with pytest.raises(Refused, match="salt1 does not have the lease of salt any more"):
        right.pass_on(node.member, 6)
    assert node.cluster.holder == ("salt2", 5)


def test_passing_on_goes_on_when_the_guard_has_renewed_in_between(node):
    node.serves()
    node.during(lambda: setattr(node.cluster, "revision", 7))
    assert right.pass_on(node.member, 5) == {"revision": 8, "ttl": TTL}
    assert node.record.key.revision == 8


def test_one_that_no_longer_knows_the_key_looks_first(node):
    node.serves()
    node.forgets()
    assert right.pass_on(node.member, 5) == {"revision": 2, "ttl": TTL}


def test_the_taker_has_the_right_from_the_moment_at_which_it_asked(node):
    node.member.ledger.write(ledger.Entry(4, "salt2", None, "a test"))
    right.promise(node.member, 4)
    right.change(node.member, released={"generation": 3, "stopped": [], "ended": 1.0})
    node.passes(2.0)
    right.accept(node.member, 5, 1001.0, {"revision": "9", "ttl": TTL})
    record = node.record
    assert record.right == lease.Right(5, 1001.0, TTL, lease.LEASE)
    assert record.key == lease.Key(9, "salt1", 5, TTL, 1002.0)
    assert record.promised_until is None and record.released is None


@pytest.mark.parametrize("given", [None, {}])
def test_a_giver_that_passes_nothing_on_gives_no_right(node, given):
    with pytest.raises(Refused, match="salt2 has passed on no lease of salt: it does not know of it"):
        right.accept(node.member, 5, 1000.0, given)
    assert node.record.right is None


def test_before_anything_is_released_the_lease_must_be_there(node):
    node.member.ledger.write(ledger.Entry(4, "salt1", None, "a test"))
    for words in ("Nobody has had the lease", "etcd does not answer"):
        with pytest.raises(Refused, match=f"cannot be passed on, so salt1 serves on: .*{words}"):
            right.require_to_give(node.member)
        node.cluster.gone = True
    node.cluster.gone = False
    node.serves()
    node.passes(3.0)
    right.require_to_give(node.member)
    assert node.record.right.asked == 1003.0, "it was asked for anew"


# --- giving it back ------------------------------------------------------------------------------------


def test_who_gives_it_back_has_no_right_even_if_etcd_is_silent(node):
    node.serves()
    node.cluster.gone = True
    right.give_back(node.member)
    assert node.record.right == right.SPENT and node.cluster.value["holder"] == "salt1"


def test_what_another_one_has_is_not_given_back(node):
    node.belongs_to("salt2", 5)
    right.give_back(node.member)
    assert node.cluster.holder == ("salt2", 5) and node.cluster.revision == 1


def test_what_another_one_gets_while_it_is_given_back_is_its(node):
    node.serves()

    def other():
        node.cluster.value, node.cluster.revision = {"holder": "salt2", "generation": 5, "ttl": TTL}, 9

    node.during(other)
    right.give_back(node.member)
    assert node.cluster.holder == ("salt2", 5)
    assert (node.record.key.holder, node.record.key.revision) == ("salt2", 9)


def test_what_is_given_back_can_be_had_by_the_other_node_at_once(node):
    node.serves()
    node.passes(1.0)
    right.give_back(node.member)
    assert node.cluster.holder == (None, 4) and node.cluster.value["ttl"] == TTL
    assert node.record.key == lease.Key(2, None, 4, TTL, 1001.0) and node.record.right == right.SPENT


# --- taking addresses by it ----------------------------------------------------------------------------


class Holder:
    """What takes addresses, and how long the kernel is to keep them."""

    def __init__(self, during=lambda: None):
        self.took, self.released, self.during = [], [], during

    def take(self, wanted, check, lifetime):
        assert check is False
        self.took.append((wanted, lifetime))
        self.during()
        return ["taken"]

    def release(self, wanted):
        self.released.append(wanted)


def test_without_a_right_nothing_is_taken(node):
    holder = Holder()
    for _ in range(2):
        with pytest.raises(Refused, match="no right to serve salt at this moment: nothing was taken"):
            right.take(node.member, holder, [GATEWAY])
        node.serves()
        # Less than a second is left: the kernel counts whole ones.
        node.now = node.record.right.until - 0.5
    assert holder.took == []


def test_the_kernel_keeps_addresses_no_longer_than_the_right_lasts(node):
    node.serves()
    right.change(node.member, released={"generation": 4, "stopped": [], "ended": 1.0})
    node.passes(2.0)
    holder = Holder()
    assert right.take(node.member, holder, [GATEWAY]) == ["taken"]
    assert holder.took == [([GATEWAY], int(TTL - lease.MARGIN - 2.0))] and holder.released == []
    assert node.record.released is None
    assert node.cluster.revision == 1, "it claims nothing, and etcd is not asked"


def test_a_node_that_stood_still_while_it_took_releases_again(node):
    node.serves()
    holder = Holder(lambda: node.passes(TTL))
    with pytest.raises(Unavailable, match="salt1 stood still while it took salt, and has released it again"):
        right.take(node.member, holder, [GATEWAY])
    assert holder.released == [[GATEWAY]]


@pytest.fixture
def claim(node):
    """salt1 claims generation 5 and has no address yet."""
    node.belongs_to(None, 4)
    right.obtain(node.member, 5, claims=True)
    assert node.cluster.value["claims"] == 5 and node.record.key.claims == 5
    return node


def test_a_claim_is_ended_in_etcd_before_an_address_is_taken(claim):
    claim.passes(1.0)
    holder = Holder()
    right.take(claim.member, holder, [GATEWAY])
    assert claim.cluster.holder == ("salt1", 5) and "claims" not in claim.cluster.value
    record = claim.record
    assert record.right == lease.Right(5, 1001.0, TTL) and record.acquiring is None
    assert record.key == lease.Key(3, "salt1", 5, TTL, 1001.0) and record.answered == 1001.0
    assert holder.took == [([GATEWAY], int(TTL - lease.MARGIN))]


def test_a_claim_that_etcd_does_not_end_takes_nothing(claim):
    claim.cluster.gone = True
    holder = Holder()
    with pytest.raises(Unavailable):
        right.take(claim.member, holder, [GATEWAY])
    assert holder.took == [] and claim.record.acquiring == 1000.0 + TTL + lease.MARGIN


def test_a_claim_that_was_renewed_in_between_is_ended_all_the_same(claim):
    claim.during(lambda: setattr(claim.cluster, "revision", 7))
    right.take(claim.member, Holder(), [GATEWAY])
    assert claim.cluster.holder == ("salt1", 5) and claim.cluster.revision == 8


def test_a_claim_that_the_other_node_has_overtaken_takes_nothing(claim):
    def other():
        claim.cluster.value, claim.cluster.revision = {"holder": "salt2", "generation": 6, "ttl": TTL}, 9

    claim.during(other)
    holder = Holder()
    with pytest.raises(Refused, match="salt1 does not have the lease of salt any more"):
        right.take(claim.member, holder, [GATEWAY])
    assert holder.took == [] and claim.record.acquiring is None


def test_a_claim_that_another_process_of_this_node_has_ended_is_not_ended_twice(claim):
    def other():
        claim.cluster.value, claim.cluster.revision = {"holder": "salt1", "generation": 5, "ttl": TTL}, 9

    claim.during(other)
    holder = Holder()
    assert right.take(claim.member, holder, [GATEWAY]) == ["taken"]
    assert claim.cluster.revision == 9 and claim.record.acquiring is None


def test_a_claim_against_a_promise_takes_nothing(claim):
    right.change(claim.member, promised_until=claim.now + 5)
    holder = Holder()
    with pytest.raises(Refused, match="has promised to take nothing"):
        right.take(claim.member, holder, [GATEWAY])
    assert holder.took == [] and claim.cluster.value["claims"] == 5


def test_a_claim_that_changes_all_the_time_takes_nothing(claim):
    tried = []

    def never(key, revision, *_):
        tried.append(revision)
        return False, (len(tried) + 50, claim.cluster.value)

    claim.cluster.replace = never
    holder = Holder()
    with pytest.raises(Refused, match="changes all the time: see who runs as salt1 twice"):
        right.take(claim.member, holder, [GATEWAY])
    assert len(tried) == right.TRIES and holder.took == []


def test_the_other_nodes_claim_is_stepped_over(node):
    node.belongs_to("salt2", 4, claims=6)
    assert node.record.key.claims == 6 and right.above_the_claim(node.member) == 7
    node.belongs_to("salt1", 4, claims=6)
    assert right.above_the_claim(node.member) == 0


@pytest.mark.parametrize(
    "value",
    [{}, {"holder": "salt2"}, {"holder": "salt2", "generation": "x", "ttl": 1}, {"holder": "salt2",
     "generation": 4, "ttl": None}, {"holder": "salt2", "generation": 4, "ttl": 10, "claims": "x"}],
)  # fmt: skip
def test_a_key_that_says_nothing_usable_is_refused_and_not_written_down(node, value):
    node.cluster.value, node.cluster.revision = value, 3
    with contextlib.suppress(AttributeError), pytest.raises(Refused, match="no usable holder and generation"):
        right._note(node.member, (3, value))
    assert node.record.key is None


# --- the end of a right --------------------------------------------------------------------------------


def test_what_was_served_by_a_right_that_is_over_is_let_go_and_that_is_noted(node):
    found = node.serves()
    released = []
    assert right.let_go(node.member, 4, lambda: released.append(1)) is False and released == []
    node.now = found.until
    right.change(node.member, released={"generation": 3, "stopped": ["cron.service"], "ended": 1.0})
    assert right.let_go(node.member, 4, lambda: released.append(1)) is True and released == [1]
    assert node.record.right is None
    assert node.record.released == {"generation": 4, "stopped": ["cron.service"], "ended": found.until}
    node.passes(5)
    assert right.let_go(node.member, 4, lambda: None)
    assert node.record.released["ended"] == node.now


def test_what_cannot_be_released_keeps_its_right_in_the_record(node):
    found = node.serves()
    node.now = found.until

    def fails():
        raise Unavailable("the kernel says no")

    with pytest.raises(Unavailable):
        right.let_go(node.member, 4, fails)
    assert node.record.right == found and node.record.released is None


def test_a_right_is_forgotten_only_when_the_whole_time_is_over(node):
    found = node.serves()
    node.now = found.until + 0.1
    right.forget_what_is_over(node.member)
    assert node.record.right == found, "within its time nothing is promised"
    node.now = found.asked + found.ttl
    right.forget_what_is_over(node.member)
    assert node.record.right is None
    right.change(node.member, released={"generation": 4, "stopped": [], "ended": 1.0})
    right.forget_what_is_over(node.member)
    assert node.record.released is None and node.record.key is not None
    before = right.place(node.member).stat().st_ino
    right.forget_what_is_over(node.member)
    assert right.place(node.member).stat().st_ino == before, "nothing to write"


def test_what_cannot_be_read_is_as_good_as_over(node):
    node.serves()
    right.place(node.member).write_text("{")
    assert right.forget(node.member) == right.Record(right=right.SPENT) == node.record
    assert right.in_force(node.member) is None


# --- what is said of it --------------------------------------------------------------------------------


def test_how_things_stand_is_said_by_the_record_alone(node):
    node.cluster.gone = True
    empty = {"serves_for": 0, "source": None, "holder": None, "generation": None, "promised_for": 0}
    empty.update(etcd_silent=None, released=False, guard=None)
    assert right.status(node.member) == empty
    node.cluster.gone = False
    node.serves()
    files.write_json(node.member.volatile / "guard.json", {"sentence": "it serves"})
    right.change(node.member, promised_until=1012.0, released={"generation": 3})
    node.passes(2.0)
    assert right.status(node.member) == {
        "serves_for": TTL - lease.MARGIN - 2.0,
        "source": "lease",
        "holder": "salt1",
        "generation": 4,
        "promised_for": 10.0,
        "etcd_silent": 2.0,
        "released": True,
        "guard": "it serves",
    }
    node.now = node.record.right.until
    assert (right.status(node.member)["serves_for"], right.status(node.member)["source"]) == (0, None)


def test_why_the_watch_may_not_take_over_is_known_without_asking_anybody(node):
    def refusal():
        asked, node.cluster.gone = node.cluster.gone, True
        try:
            return right.takeover_refusal(node.member)
        finally:
            node.cluster.gone = asked

    node.member.ledger.write(ledger.Entry(4, "salt2", None, "a test"))
    assert "has not seen its lease yet" in refusal()
    node.belongs_to("salt2", 4)
    assert refusal() == "salt1 takes nothing of salt: salt2 has the lease of salt still."
    node.passes(TTL)
    assert refusal() is None
    node.passes(0.1)
    assert "etcd has not answered for 10 s or longer" in refusal()
    right.change(node.member, answered=None)
    assert "etcd has not answered for 10 s or longer" in refusal()
    right.look(node.member)
    assert refusal() is None
    # The other node has claimed 5 and died before it served: 6 it is, and that is no history twice.
    node.belongs_to("salt2", 4, claims=5)
    node.passes(TTL)
    right.change(node.member, answered=node.now)
    assert refusal() is None
    # The guard has released what this node serves by its ledger, and takes it up again by itself.
    node.member.ledger.write(ledger.Entry(7, "salt1", None, "a test"))
    right.change(node.member, released={"generation": 6, "stopped": [], "ended": 1.0})
    assert refusal() is None
    right.change(node.member, released={"generation": 7, "stopped": [], "ended": 1.0})
    assert "takes it up again by itself" in refusal()


def test_without_a_ledger_a_lease_that_was_granted_already_is_left_alone(node):
    node.belongs_to("salt2", 4)
    node.passes(TTL)
    assert "granted for generation 4" in right.takeover_refusal(node.member)


def test_a_record_of_the_release_before_has_no_claim(node):
    node.serves()
    text = json.loads(right.place(node.member).read_text())
    assert text["claims"] is None and "claims" not in text["key"]
    del text["claims"]
    node.forgets(text)
    assert node.record.key.claims is None
