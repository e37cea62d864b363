"""The pair as it should be: salt1 serves, salt2 stands by. Nothing here may change that."""

import json
import time

import pytest
from lab_pair import PILLAR
from lab_pair import differences

from lab.host import until

pytestmark = pytest.mark.usefixtures("running")


def test_salt1_alone_answers_and_lsyncd_runs_there_alone(pair):
    assert pair.holders() == ["salt1"]
    assert [pair.bears(host) for host in pair.nodes] == [True, False]
    assert [len(pair.processes(host, "lsyncd")) for host in pair.nodes] == [1, 0]
    assert [pair.active(host, "salt-master") for host in pair.nodes] == [True, True]
    for host in pair.nodes:
        enabled = host.run(["systemctl", "is-enabled", "salt-master", "lsyncd"], check=False).stdout.split()
        assert "enabled" not in enabled


def test_lsyncd_carries_folders_and_patterns_and_nothing_else(pair):
    pair.drain()
    assert differences(pair.fingerprint(pair.salt1), pair.fingerprint(pair.salt2)) == []
    assert pair.salt2.read("/srv/site/a.conf") == "carried\n"
    assert pair.salt2.read("/srv/site/a.txt") == "of salt2\n"


def status(pair):
    done = pair.salt1.run(["salt-run", "--out=json", "pair.status", "salt", "timeout=10"], check=False)
    return json.loads(done.stdout)["pairs"]["salt"]


def test_nothing_is_carried_to_a_path_that_is_not_mounted_and_all_of_it_when_it_is_again(pair):
    """What lsyncd wrote into the empty folder would be out of sight after the next mount."""

    def there(path):
        return pair.salt2.run(["cat", path], check=False).stdout

    pair.salt2.run(["mkdir", "-p", "/root/below"])
    pair.salt2.run(["mount", "--bind", "/root/below", "/srv/site"])
    begun = time.time()
    try:
        pair.salt1.write("/srv/site/while-away.conf", "later\n")
        pair.salt1.write("/srv/data/while-away", "at once\n")

        def said():
            # lsyncd writes what its rsync says to its journal.
            return pair.journal(pair.salt1, "-u", "lsyncd", f"--since=@{begun:.0f}")

        until(lambda: "/srv/site/*.conf on salt2 lies on" in said(), 30, "lsyncd to say why it is not let in")
        until(lambda: there("/srv/data/while-away") == "at once\n", 30, "the other paths' files")
        assert pair.salt2.run(["ls", "-A", "/root/below"]).stdout == ""
        assert any("/srv/site/*.conf on salt2 lies on" in one for one in status(pair)["drift"])
        done = pair.orchestrate(pair.salt2, "failover")
        assert done.returncode != 0 and "Refused, nothing was changed." in done.stdout
        assert "/srv/site/*.conf on salt2 lies on" in " ".join(done.stdout.split())
        assert pair.holders() == ["salt1"]
        # The active node is seen to all the same; only the standby is not admitted.
        pair.salt1.run(["systemctl", "stop", "lsyncd"])
        done = pair.recover(pair.salt1)
        assert done.returncode != 0 and "on salt2 lies on" in " ".join(done.stdout.split())
        assert pair.active(pair.salt1, "lsyncd") and pair.holders() == ["salt1"]
        assert pair.salt2.run(["ls", "-A", "/root/below"]).stdout == ""
        # Nobody's word, no record.
        done = pair.orchestrate(pair.salt1, "adopt")
        assert done.returncode != 0 and "moved: true" in done.stdout
    finally:
        # An rsync that is about to be refused may be in it still.
        away = ["umount", "/srv/site"]
        until(lambda: pair.salt2.run(away, check=False).returncode == 0, 30, "/srv/site to be unmounted")
    until(lambda: there("/srv/site/while-away.conf") == "later\n", 60, "what could not be carried")
    pair.drain()


def test_a_path_that_an_operator_has_moved_is_compared_as_a_whole_before_the_standby_may_serve(pair):
    pair.salt2.run(["mkdir", "-p", "/root/other-disk"])
    # It is mounted again at the reboot, which is a part of the recovery.
    pair.salt2.write("/etc/fstab", "/root/other-disk /srv/site none bind 0 0\n")
    pair.salt2.run(["mount", "/srv/site"])
    pair.orchestrate(pair.salt1, "adopt", check=True, moved=True)
    found = status(pair)
    assert found["verdict"] == "standby_returned" and "orch.recover" in json.dumps(found["next"]), found
    assert not pair.active(pair.salt1, "lsyncd")
    done = pair.recover(pair.salt1)
    assert done.returncode == 0, done.stdout
    assert pair.salt2.run(["cat", "/root/other-disk/a.conf"]).stdout == "carried\n"
    assert status(pair)["verdict"] == "normal" and not status(pair)["drift"]
    pair.salt2.run(["umount", "/srv/site"])
    pair.salt2.write("/etc/fstab", "")
    pair.orchestrate(pair.salt1, "adopt", check=True, moved=True)
    done = pair.recover(pair.salt1)
    assert done.returncode == 0, done.stdout
    pair.drain()


def test_a_path_that_is_unmounted_on_the_primary_deletes_nothing_on_the_standby(pair):
    pair.drain()
    before = pair.fingerprint(pair.salt2, "/srv/site")
    pair.salt1.run(["mkdir", "-p", "/root/below", "/root/beside"])
    pair.salt1.run(["mount", "--bind", "/srv/site", "/root/beside"])
    # Else what is mounted over the one would be mounted over the other as well.
    pair.salt1.run(["mount", "--make-private", "/root/beside"])
    pair.salt1.run(["mount", "--bind", "/root/below", "/srv/site"])
    try:
        # By a program that has it open still.
        pair.salt1.write("/root/beside/a.conf", "changed\n")
        until(lambda: not pair.active(pair.salt1, "lsyncd"), 30, "lsyncd to end")
        done = pair.salt1.run(["systemctl", "start", "lsyncd"], check=False)
        assert done.returncode != 0
        assert differences(before, pair.fingerprint(pair.salt2, "/srv/site")) == []
    finally:
        pair.salt1.run(["umount", "/srv/site"])
        pair.salt1.run(["umount", "/root/beside"])
    assert pair.recover(pair.salt1).returncode == 0
    assert pair.salt2.run(["cat", "/srv/site/a.conf"]).stdout == "changed\n"
    pair.salt1.write("/srv/site/a.conf", "carried\n")
    pair.drain()


def test_highstate_again_changes_nothing_on_either_node(pair):
    assert pair.highstate(pair.salt1) == {"salt1": [], "salt2": []}
    assert pair.holders() == ["salt1"]


def test_recover_has_nothing_to_do_and_moves_nothing(pair):
    before = [pair.fingerprint(host) for host in pair.nodes]
    ledgers = [pair.ledger(host) for host in pair.nodes]
    runs = [pair.runs(host) for host in pair.nodes]
    done = pair.recover(pair.salt1)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing to do" in done.stdout
    assert [pair.runs(host) for host in pair.nodes] == runs
    assert [pair.ledger(host) for host in pair.nodes] == ledgers
    assert [pair.left(host) for host in pair.nodes] == [[], []]
    assert [pair.fingerprint(host) for host in pair.nodes] == before


def test_recover_without_an_answer_of_the_secondary_is_refused(pair):
    pair.salt2.run(["systemctl", "stop", "salt-minion"])
    try:
        done = pair.recover(pair.salt1)
    finally:
        pair.salt2.run(["systemctl", "start", "salt-minion"])
    assert done.returncode != 0
    assert "salt2 does not answer" in done.stdout
    assert "Refused, nothing was changed" in done.stdout
    assert pair.left(pair.salt1) == []
    assert pair.holders() == ["salt1"]
    pair.wait_idle(pair.salt1, "salt2")


def test_a_wrong_command_line_exits_with_a_status_and_says_how_it_is_typed(pair):
    unknown = pair.orchestrate(pair.salt1, "recover", pair="slat")
    assert unknown.returncode != 0
    assert "There is no pair slat (pairs: salt)" in unknown.stdout
    none = pair.salt1.run(["salt-run", "state.orch", "orch.recover"], check=False)
    assert none.returncode != 0
    assert "No pair was named. Usage: salt-run state.orch orch.recover" in none.stdout
    mapping = pair.salt1.run(["salt-run", "state.orch", "orch.recover", "pillar=<pair: salt>"], check=False)
    assert mapping.returncode != 0
    assert "Usage: salt-run state.orch orch.recover" in mapping.stdout + mapping.stderr


def test_a_wrong_pillar_is_refused_with_file_key_found_and_wanted(pair):
    right = pair.salt1.read(PILLAR)
    wrong = right.replace("interface: eth0", "interfaces: eth0")
    wrong = wrong.replace("boot_timeout: 300", "boot_timeout: soon")
    assert wrong.count("interfaces") == wrong.count("soon") == 1
    pair.salt1.write(PILLAR, wrong)
    try:
        checked = pair.runner(pair.salt1, "pair.check", check=False)
        done = pair.recover(pair.salt1)
    finally:
        pair.salt1.write(PILLAR, right)
    assert checked["status"] != 0
    said = "\n".join(checked["problems"])
    for word in ("pairs/salt.sls", "interfaces", "boot_timeout", "soon"):
        assert word in said
    assert done.returncode != 0
    assert "The pillar is wrong, nothing was done" in done.stdout
    assert pair.left(pair.salt1) == []
    pair.drain()
    assert pair.runner(pair.salt1, "pair.check")["status"] == 0
