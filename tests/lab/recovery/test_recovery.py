"""The real recovery, under a client's writes and after a killed attempt; then the way back."""

import json
import re
import subprocess

import pytest
from lab_pair import ADDRESS
from lab_pair import LAG
from lab_pair import STATE
from lab_pair import differences

from lab import client
from lab import load
from lab.host import HostOff
from lab.host import kill_session
from lab.host import until

#: Deletions that this one run may make: the tests before it have deleted a lot on salt2.
MANY = 1000
GIT = ["git", "-c", "safe.directory=*", "--git-dir=/srv/git/site.git"]


@pytest.fixture(scope="module")
def recovered(pair):
    """What is seen of one recovery, from before it to after it; the tests look at it."""
    pair.failed_over()
    return Recovery(pair)


class Recovery:
    """One recovery with everything that can happen meanwhile; each part is looked at by a test."""

    def __init__(self, pair):
        self.pair = pair
        self.before_changes = pair.fingerprint(pair.salt1)
        pair.hard_tree(pair.salt2, "change")
        pair.salt2.write("/srv/site/b.conf", "made on salt2\n")
        self.commits()
        self.killed()
        self.real()

    def commits(self):
        """A branch that only salt2 has gone on with, and one that both have."""
        commit = "git -c user.name=op -c user.email=op@lab commit -q --allow-empty -m"
        script = (
            "rm -rf /root/work && git -c safe.directory='*' clone -q /srv/git/site.git /root/work"
            " && cd /root/work && {main} git checkout -q -b side && "
            + commit
            + " 'side of {name}' && git push -q origin side"
        )
        main = commit + " 'while salt1 was down' && git push -q &&"
        for host, text in ((self.pair.salt2, main), (self.pair.salt1, "")):
            host.run(["/bin/sh", "-c", script.format(main=text, name=host.name)])

    def killed(self):
        """A first run, a second one beside it, and the death of the first while salt1 reboots."""
        pair = self.pair
        pillar = json.dumps({"pair": "salt", "max_delete": MANY})
        command = ["salt-run", "--state-output=full", "state.orch", "orch.recover", f"pillar={pillar}"]
        boot = pair.salt1.boot_id()
        pair.site.start_masters([pair.salt1])
        pair.wait_idle(pair.salt1, "salt2")
        first = pair.salt2.spawn(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            locked = "the first run to have its lock"
            until(lambda: "lock.json" in pair.left(pair.salt2), 60, locked, pause=0.1)
            self.first = json.loads(pair.salt2.read(f"{STATE}/lock.json"))["run"]
            # The other master's first: the run is going to reboot its host.
            self.beside = pair.recover(pair.salt1, max_delete=MANY)
            self.second = pair.recover(pair.salt2, max_delete=MANY)
            self.lock_beside = json.loads(pair.salt2.read(f"{STATE}/lock.json"))["run"]
            until(lambda: reboots(pair.salt1, boot), 120, "salt1 to reboot", pause=0.1)
            self.alive = first.poll() is None
        finally:
            kill_session(first)
            first.communicate()
        self.left_by_the_dead = pair.left(pair.salt2)
        self.holders_after_death = pair.holders()

    def real(self):
        pair = self.pair
        pair.wait_idle(pair.salt2, "salt1")
        self.before = pair.fingerprint(pair.salt1)
        self.generation = pair.ledger(pair.salt2)["generation"]
        self.boot = pair.salt1.boot_id()
        probe = client.start_probe(pair.client, ADDRESS, interval=0.002)
        self.done = pair.recover(pair.salt2, max_delete=MANY, full=True)
        self.probe = probe.stop()
        self.run = pair.runs(pair.salt1)[-1]
        self.macs = {host.mac(): host.name for host in pair.nodes}


def reboots(host, boot):
    """Whether a host is down, or up in another boot."""
    try:
        return host.boot_id() != boot
    except (HostOff, subprocess.SubprocessError):
        return True


@pytest.mark.parametrize("by", ["beside", "second"], ids=["the other master", "the same master"])
def test_the_second_of_two_recoveries_is_refused_and_names_the_first(recovered, by):
    second = getattr(recovered, by)
    assert second.returncode != 0
    said = " ".join(second.stdout.split())
    assert f"salt is locked by run {recovered.first} (recover, started" in said
    assert "Refused, nothing was changed." in said
    assert recovered.lock_beside == recovered.first


def test_a_killed_run_leaves_salt2_serving_and_its_lock_is_taken_over_at_once(recovered):
    assert recovered.alive
    assert recovered.holders_after_death == ["salt2"]
    assert "lock.json" in recovered.left_by_the_dead
    assert recovered.done.returncode == 0, recovered.done.stdout + recovered.done.stderr
    shown = recovered.pair.runner(recovered.pair.salt2, "pair.history", "salt")["runs"]
    results = {one["run"]: one["result"] for one in shown}
    assert results[recovered.first] == "interrupted"
    assert results[recovered.run] == "succeeded"


def test_salt1_serves_again_alone_after_a_reboot(recovered, pair):
    assert recovered.done.returncode == 0, recovered.done.stdout + recovered.done.stderr
    assert pair.salt1.boot_id() != recovered.boot
    assert pair.holders() == ["salt1"]
    assert [pair.bears(host) for host in pair.nodes] == [True, False]
    assert [len(pair.processes(host, "lsyncd")) for host in pair.nodes] == [1, 0]
    assert [pair.left(host) for host in pair.nodes] == [[], []]
    for host in pair.nodes:
        assert pair.ledger(host)["active"] == "salt1"
        assert pair.ledger(host)["generation"] == recovered.generation + 1


def test_the_client_never_saw_two_holders_and_missed_the_address_only_for_a_moment(recovered):
    probe = recovered.probe
    print(f"outage {probe['outage'] * 1000:.0f} ms, largest gap {probe['largest_gap'] * 1000:.0f} ms")
    assert probe["both"] == 0
    answered = [recovered.macs[span["mac"]] for span in probe["answered_by"]]
    assert answered == ["salt2", "salt1"]
    assert probe["outage"] < 5


def test_the_final_sync_went_by_the_journal_and_both_nodes_tell_of_the_window(recovered):
    said = " ".join(recovered.done.stdout.split())
    assert "names compared, from the journal of changes" in said
    assert "everything compared" not in said
    for node in ("salt1", "salt2"):
        assert f"window on {node}:" in said


def test_the_journals_end_with_their_run(recovered, pair):
    for host in pair.nodes:
        gone = f"{host.name}'s journal of changes to end"
        until(lambda host=host: not pair.active(host, "failback-journal-salt"), 30, gone)


def test_every_acknowledged_write_is_on_both_nodes(recovered, pair):
    pair.writing.wait_acknowledged(20, node="salt1")
    entries, pair.writing = pair.writing.stop(), None
    pair.drain()
    print(load.summary(entries))
    doubtful = load.lost_with("salt1", pair.died, LAG)
    for host in pair.nodes:
        assert client.check(entries, host, doubtful=doubtful) == []
    # What salt1 alone had acknowledged when it died is in the backup, if it is nowhere else.
    there = client.files(pair.salt1)
    kept = pair.salt1.run(
        ["find", f"{STATE}/runs/{recovered.run}/backup", "-type", "f", "-printf", "%f\\n"]
    ).stdout.split("\n")
    later = {one["name"] for one in entries if one["operation"] in ("delete", "rename") and one["answered"]}
    late = [one for one in entries if one["answered"] and not one.get("refused") and doubtful(one)]
    created = {one["name"] for one in late if one["operation"] == "create"}
    assert created - set(there) - set(kept) - later == set()


def test_both_nodes_have_the_same_trees_to_the_last_attribute(recovered, pair):
    pair.drain()
    for folder in ("/srv/data", "/srv/salt", "/etc/salt/pki/master"):
        assert differences(pair.fingerprint(pair.salt1, folder), pair.fingerprint(pair.salt2, folder)) == []
    after = pair.fingerprint(pair.salt1)
    assert after["hard/third\nname"]["names"] == ["hard/another name", "hard/one name", "hard/third\nname"]
    assert after["hard/restricted"]["owner"] == [54321, 54322]
    assert after["hard/sparse"]["sparse"]
    assert "hard/goes/$(touch was-here)" not in after
    for host in pair.nodes:
        found = host.run(["find", "/", "-xdev", "-name", "was-here", "-not", "-path", "/proc/*"]).stdout
        assert found == ""


def test_a_pattern_carries_its_files_and_nothing_beside_them(recovered, pair):
    assert pair.salt1.read("/srv/site/b.conf") == "made on salt2\n"
    assert pair.salt1.read("/srv/site/a.txt") == "not carried\n"
    assert pair.salt2.read("/srv/site/a.txt") == "of salt2\n"


def test_git_is_pushed_and_a_diverged_branch_is_reported_and_left_alone(recovered, pair):
    logs = {
        (host.name, branch): host.run([*GIT, "log", "--format=%s", branch]).stdout.splitlines()
        for host in pair.nodes
        for branch in ("main", "side")
    }
    assert logs["salt1", "main"] == logs["salt2", "main"]
    assert logs["salt1", "main"][0] == "while salt1 was down"
    assert logs["salt1", "side"][0] == "side of salt1"
    assert logs["salt2", "side"][0] == "side of salt2"
    said = " ".join(recovered.done.stdout.split())
    assert re.search(r"Left alone because they have diverged.*/srv/git/site.git: refs/heads/side", said)


def test_running_it_again_changes_nothing(recovered, pair):
    runs = [pair.runs(host) for host in pair.nodes]
    done = pair.recover(pair.salt1)
    assert done.returncode == 0, done.stdout
    assert "Nothing to do" in done.stdout
    assert [pair.runs(host) for host in pair.nodes] == runs
    assert pair.holders() == ["salt1"]


def test_undo_puts_back_what_was_overwritten_or_deleted_and_can_be_undone(recovered, pair):
    now = pair.fingerprint(pair.salt1)
    said = pair.runner(pair.salt1, "pair.undo", recovered.run)
    undone = pair.fingerprint(pair.salt1)
    lost = {name for name in recovered.before if recovered.before[name] != now.get(name)}
    files = {name for name in lost if "names" in recovered.before[name]}
    assert len(files) > 40
    back = {name: undone[name] for name in lost if name in undone}
    assert differences({name: recovered.before[name] for name in lost}, back) == []
    pair.drain()
    assert differences(undone, pair.fingerprint(pair.salt2)) == []

    again = said["undo this with"].split()[-1]
    said = pair.runner(pair.salt1, "pair.undo", again, check=False)
    # It belongs to a user by now, who may have changed it: nobody gives his content a set-uid bit back.
    assert said["salt1"]["left_names"] == ["/srv/data/hard/restricted"] and said["status"] != 0
    redone = pair.fingerprint(pair.salt1)
    assert differences(without_restricted(now), without_restricted(redone)) == []
    pair.drain()
    assert differences(without_link(redone), without_link(pair.fingerprint(pair.salt2))) == []
    assert pair.holders() == ["salt1"]


def without_restricted(found):
    return {name: one for name, one in found.items() if name != "hard/restricted"}


def without_link(found):
    """Without one hard link: lsyncd sends the names that changed, and rsync ties only what it is sent."""
    linked = ("hard/another name", "hard/one name", "hard/third\nname")
    return {name: {**one, "names": None} if name in linked else one for name, one in found.items()}
