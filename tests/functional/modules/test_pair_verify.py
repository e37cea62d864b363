"""Both nodes are compared by checksum beside a real lsyncd: what nobody carries is found, and repaired."""

import json
import os
import signal
import threading
import time

import lsyncd_host
import pytest
from lsyncd_host import content
from lsyncd_host import eventually
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

from failback import errors
from failback.decisions import verified
from failback.recovery import verify
from failback.state import proofs

pytestmark = pytest.mark.needs("root", "lsyncd")


@pytest.fixture(scope="module")
def minion_opts(minion_opts, tmp_path_factory):
    return lsyncd_host.options(minion_opts, tmp_path_factory)


@pytest.fixture
def host(minion_opts, modules, monkeypatch):
    with lsyncd_host.as_services(minion_opts["failback_root"], modules, monkeypatch) as host:
        filled(host)
        modules.lsyncd.start("salt")
        modules.lsyncd.drain("salt", 30)
        assert content(host.target) == content(host.source)
        yield host


def filled(host):
    """Files with all kinds of names, and a limit that a repair may come to."""
    host.configure(recovery={"max_delete": 2})
    for name in ("one", "two", "three", "folder/inner", "we[ir]d*?\\x", "line\nbreak", "*"):
        path = host.source / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"the content of {name}\n")


@pytest.fixture
def limits(monkeypatch, host):
    """The module compares with the host's lsyncd and SSH; what a comparison was given is noted."""
    given, real = [], verify.Verification

    def comparison(member, limit, remote_shell=None):
        given.append(limit)
        shell = remote_shell or str(host.base / "programs/ssh")
        return real(member, limit, remote_shell=shell, unit_reader=lambda: host.show("lsyncd"))

    monkeypatch.setattr(verify, "Verification", comparison)
    return given


def test_an_operator_is_told_in_a_sentence_what_differs(host, modules, limits):
    flip_a_bit(host.target / "one")
    said = modules.pair.verify("salt")
    assert said["differing"] == 1 and said["repaired"] == 0 and said["sentence"].startswith("1 file on salt2")
    kept = modules.pair.verified("salt")
    assert kept["differing"] == 1 and kept["current"] and "sentence" not in kept
    said = modules.pair.verify("salt", repair=True, limit=600)
    assert (said["differing"], said["repaired"]) == (0, 1)
    assert limits == [verified.LIMIT, 600]


@pytest.mark.one_release
def test_a_comparison_is_begun_with_sense_or_not_at_all(host, modules, limits):
    for wrong in ({"repair": "please"}, {"limit": "long"}, {"limit": 0}, {"max_delete": -1}, {"limit": True}):
        with pytest.raises(SaltInvocationError, match=next(iter(wrong))):
            modules.pair.verify("salt", **wrong)
    with pytest.raises(CommandExecutionError, match="knows no pair web"):
        modules.pair.verify("web")
    assert limits == [] and modules.pair.verified("salt") is None


@pytest.mark.one_release
def test_both_nodes_keep_what_was_proved_of_the_pair(host, modules):
    record = {"at": time.time(), "generation": 3, "files": 9, "differing": 0, "differences": []}
    assert modules.pair.keep_verified("salt", {**record, "sentence": "All is well."}) is True
    kept = modules.pair.verified("salt")
    assert kept["files"] == 9 and kept["current"] and "sentence" not in kept
    drill = {"at": time.time(), "windows": {"failover": 310.5}, "runs": {"failover": "x"}}
    assert modules.pair.keep_drilled("salt", drill) is True
    assert proofs.drilled(host.member)["windows"] == {"failover": 310.5}
    for verb in (modules.pair.keep_verified, modules.pair.keep_drilled):
        with pytest.raises(CommandExecutionError, match="knows no pair web"):
            verb("web", record)


def verification(host, limit=60, shell=None):
    member = type(host.member)("salt", host.paths)
    shell = str(shell or host.base / "programs/ssh")
    return verify.Verification(member, limit, remote_shell=shell, unit_reader=lambda: host.show("lsyncd"))


def flip_a_bit(path):
    """The same size and time of change, another content: what no sync by size and time can see."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def found(record):
    return {(one["path"].rpartition("/srv/salt/")[2], one["what"]) for one in record["differences"]}


def test_two_nodes_with_the_same_files(host):
    record = verification(host).run()
    assert record["differing"] == record["busy"] == 0 and record["files"] == 9, record
    kept = proofs.verified(host.member)
    assert kept["current"] and abs(kept["at"] - time.time()) < 60
    assert proofs.ages(host.member)["verify_age"] < 60


def test_what_nobody_carries_is_found_and_only_then_repaired(host):
    for name in ("one", "we[ir]d*?\\x", "line\nbreak", "*"):
        flip_a_bit(host.target / name)
    (host.target / "two").unlink()
    (host.target / "by hand").mkdir()
    (host.target / "by hand/file").write_text("written on the standby\n")
    os.chmod(host.target / "three", 0o600)
    before = content(host.target)
    record = verification(host).run()
    wanted = {
        ("one", verified.DIFFERS),
        ("we[ir]d*?\\x", verified.DIFFERS),
        ("line\\#012break", verified.DIFFERS),
        ("*", verified.DIFFERS),
        ("two", verified.MISSING),
        ("by hand", verified.EXTRA),
        ("by hand/file", verified.EXTRA),
        ("three", verified.ATTRIBUTES),
    }
    assert found(record) == wanted and record["complete"] and record["differing"] == 8, record
    assert content(host.target) == before, "a look changes nothing"

    # What was found is repaired without reading everything again; the age stays that of the comparison.
    mended = verification(host).run(repair=True)
    assert mended["repaired"] == record["differing"] and mended["differing"] == 0, mended
    assert mended["at"] == record["at"] and mended["files"] == record["files"]
    assert content(host.target) == content(host.source)
    assert verification(host).run()["differing"] == 0


@pytest.mark.one_release
def test_a_repair_deletes_no_more_than_it_may(host):
    for number in range(3):
        (host.target / f"by-hand-{number}").touch()
    with pytest.raises(errors.Refused, match="would delete 3 files.*max_delete: 3"):
        verification(host).run(repair=True)
    assert (host.target / "by-hand-0").exists()
    assert proofs.verified(host.member)["differing"] >= 3, "what was found is kept all the same"
    assert verification(host).run(repair=True, max_delete=3)["differing"] == 0
    assert not (host.target / "by-hand-0").exists()


@pytest.mark.one_release
def test_what_is_on_its_way_is_no_difference(host, monkeypatch):
    """Clients write all the time, one file of them without a pause: only the flipped bit is listed."""
    monkeypatch.setattr(verify, "PARTLY", 2.0)
    flip_a_bit(host.target / "one")
    over = threading.Event()

    def work():
        number = 0
        while not over.wait(0.01):
            number += 1
            (host.source / f"folder/new-{number}").write_text(f"{number}\n")
            (host.source / "busy").write_text(f"{number}\n")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        record = verification(host).run()
    finally:
        over.set()
        thread.join()
    assert found(record) == {("one", verified.DIFFERS)}, record


@pytest.mark.one_release
def test_a_change_that_waits_for_lsyncd_is_no_difference(host):
    with host.stopped():
        (host.source / "one").write_text("newer\n")
        later = threading.Timer(2, lambda: os.kill(host.process.pid, signal.SIGCONT))
        later.start()
        assert verification(host).run()["differing"] == 0
    later.join()


@pytest.mark.one_release
def test_nothing_is_known_without_lsyncd_or_without_the_standby(host):
    flip_a_bit(host.target / "one")
    host.kill()
    with pytest.raises(errors.Unavailable, match="whether they are on their way cannot be told"):
        verification(host).run()
    host.block()
    with pytest.raises(errors.Unavailable, match="ended with exit code"):
        verification(host).run()
    assert proofs.verified(host.member) is None


@pytest.mark.one_release
def test_it_makes_way_for_a_run_and_ends_in_time(host):
    silent = host.base / "silent"
    silent.write_text("#!/bin/sh\nexec 3>&1\nexec cat > /dev/null\n")
    silent.chmod(0o755)
    with pytest.raises(errors.Unavailable, match="not ended within 1 s"):
        verification(host, 1, silent).run()
    owner = {"pid": os.getpid(), "boot_id": "elsewhere", "machine": "elsewhere/other"}
    host.member.lock.acquire("20261122T183000-failover-salt-4f2a", "failover", owner, 60)
    with pytest.raises(errors.Unavailable, match="made way for run 20261122T183000-failover-salt-4f2a"):
        verification(host, shell=silent).run()


@pytest.mark.one_release
def test_two_at_once_are_refused(host):
    host.block("held")
    first = threading.Thread(target=lambda: verification(host).run())
    first.start()
    try:
        eventually(lambda: (host.base / "holds").exists())
        with pytest.raises(errors.Refused, match="Another comparison"):
            verification(host).run()
    finally:
        host.unblock("held")
        first.join()


@pytest.mark.one_release
def test_a_node_that_does_not_serve_compares_nothing(host):
    host.admit("salt2", 4)
    with pytest.raises(errors.Refused, match="salt2 is active"):
        verification(host).run()


@pytest.mark.one_release
def test_a_record_of_an_earlier_generation_is_known_for_what_it_is(host):
    flip_a_bit(host.target / "one")
    verification(host).run()
    host.admit("salt1", 5)
    kept = proofs.verified(host.member)
    assert kept["differing"] == 1 and not kept["current"]
    # It repairs nothing by that: all is compared anew.
    flip_a_bit(host.target / "two")
    assert verification(host).run(repair=True)["repaired"] == 2


@pytest.mark.parametrize("text", ["", "{}", "[]", json.dumps({"version": 1, "at": "now"}), "\0"])
@pytest.mark.one_release
def test_a_damaged_record_proves_nothing(host, text):
    (host.member.state / "verified.json").write_text(text)
    assert proofs.verified(host.member) is None
