"""What a node says of itself and of its pair when it is asked, and what it does without a run."""

import json
import os
import pathlib
import shutil
import sys

import pytest
import samples
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

from failback.errors import Unavailable
from failback.host import files
from failback.host import journal_lines
from failback.host import services
from failback.host import system
from failback.host.paths import Paths
from failback.network import floating
from failback.pair import Member
from failback.state import ledger

pytestmark = pytest.mark.one_release

RUN = samples.RUN


@pytest.fixture
def member(minion_opts):
    """salt1, in a folder that stands for its root and is empty for each test."""
    yield Member("salt", Paths(minion_opts["failback_root"]))
    shutil.rmtree(minion_opts["failback_root"], ignore_errors=True)


@pytest.fixture
def configure(member):
    """Writes the pair's configuration, as the node or another one of the pair has it."""

    def write(node="salt1", pair="salt", **changes):
        files.write_json(member.paths.pair_config(pair), samples.pair(node, name=pair, **changes))
        return Member(pair, member.paths)

    return write


@pytest.fixture
def ran(monkeypatch):
    """Programs that were called. None of them is; each says what stands in ``says`` for its last word."""
    calls = Programs()
    monkeypatch.setattr(system, "run", calls.run)
    return calls


class Programs(list):
    """A list of argument lists."""

    def __init__(self):
        super().__init__()
        self.says, self.fails = {}, set()

    def run(self, argv, *_, **__):
        self.append([str(one) for one in argv])
        if argv[-1] in self.fails:
            raise Unavailable(f"{argv[0]} ended with exit status 1.")
        return self.says.get(argv[-1], "")


@pytest.fixture
def quiet(monkeypatch, ran):
    """No service of the pair runs, and no address is held on this machine."""
    monkeypatch.setattr(services, "states", lambda wanted: {one["name"]: "inactive" for one in wanted})
    monkeypatch.setattr(
        floating, "statuses", lambda wanted: [{"address": one.address, "held": False} for one in wanted]
    )
    monkeypatch.setattr(floating, "status", lambda one: {"address": one.address, "held": False})


# --- the report ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [[], ["salt", "web"]])
def test_a_pair_is_named_where_the_node_has_none_or_several(modules, configure, quiet, known):
    for pair in known:
        configure(pair=pair)
    with pytest.raises(CommandExecutionError, match=f"{', '.join(known) or 'no pair'} configured"):
        modules.pair.report()


def test_the_only_pair_of_a_node_need_not_be_named(modules, configure, quiet):
    configure(pair="web")
    found = modules.pair.report()
    assert (found["pair"], found["node"]) == ("web", "salt1")
    assert found["package"] == modules.pair.package() and "guests" not in found


@pytest.mark.parametrize(
    "vms, asked, wanted",
    [(["idm"], True, "guests"), (["idm"], False, None), ([], True, None), (["idm"], None, None)],
)
def test_libvirt_is_asked_for_guests_only_where_there_are_some_and_who_wants_them(
    modules, configure, quiet, monkeypatch, vms, asked, wanted
):
    configure(vms=vms)
    calls = []
    monkeypatch.setitem(modules, "shared_vm.report", lambda pair: calls.append(pair) or {"of": pair})
    words = {} if asked is None else {"guests": asked}
    found = modules.pair.report("salt", **words)
    assert found.get("guests") == ({"of": "salt"} if wanted else None)
    assert calls == (["salt"] if wanted else [])


def test_a_libvirt_that_does_not_answer_hides_nothing_else(modules, configure, quiet, monkeypatch):
    configure(vms=["idm"])

    def broken(pair):
        raise CommandExecutionError("libvirt does not answer")

    monkeypatch.setitem(modules, "shared_vm.report", broken)
    found = modules.pair.report("salt", guests=True)
    assert found["guests"] == {"error": "libvirt does not answer"} and found["node"] == "salt1"


def test_a_look_is_what_the_lookout_has_answered_and_no_older_one(modules, configure, monkeypatch):
    member = configure()
    there = member.paths.readiness("salt")
    old = {"version": 1, "boot_id": system.boot_id(), "facts": {}, "looked_at": 1.0, "answers": "another"}
    files.write_json(there, old)
    with pytest.raises(CommandExecutionError, match="Nobody has looked .* within 0 s"):
        modules.pair.look("salt", limit="0")
    asked = files.write_json

    def answered(path, content, **more):
        asked(path, content, **more)
        if "token" in content:
            asked(there, {**old, "role": "serves", "answers": content["token"]})

    monkeypatch.setattr(files, "write_json", answered)
    assert modules.pair.look("salt")["role"] == "serves"


def test_the_gate_says_whether_lsyncd_may_run(modules, configure, quiet, monkeypatch):
    member = configure(replicate=[])
    closed = modules.pair.gate("salt")
    assert closed["open"] is False and closed["reason"].startswith("lsyncd of salt must not start.")
    member.ledger.write(ledger.Entry(4, "salt1", None, "a test"))
    monkeypatch.setattr(
        floating, "statuses", lambda wanted: [{"address": one.address, "held": True} for one in wanted]
    )
    assert modules.pair.gate("salt") == {"open": True, "reason": None}
    unknown = modules.pair.gate("web")
    assert unknown["open"] is False and "knows no pair web" in unknown["reason"]


# --- services -----------------------------------------------------------------------------------------


def test_services_start_in_their_order_and_the_next_one_only_after_the_one_before(
    modules, configure, monkeypatch
):
    names = ("one.service", "two.service", "three.service")
    configure(services=[services.unit(one) for one in names])
    begun = []

    def start(pair, key, service, node):
        begun.append((pair, key, service["name"], node))
        if service["name"] == "three.service" and len(begun) > 3:
            raise Unavailable("three.service did not start")
        return "started" if len(begun) < 3 else "already running"

    monkeypatch.setattr(services, "start", start)
    assert modules.pair.start_services("salt") == {
        "one.service": "started",
        "two.service": "started",
        "three.service": "already running",
    }
    assert begun == [("salt", "services", one, "salt1") for one in names]
    with pytest.raises(CommandExecutionError, match=r"three\.service did not start"):
        modules.pair.start_services("salt")


def test_only_what_the_pillar_names_is_read_again(modules, configure, ran):
    """Whoever may call this may not restart whatever he likes."""
    configure(replicate=[{"path": "/a", "then": "squid.service"}, {"path": "/b", "then": "nginx.service"}])
    for units in (["sshd.service"], ["squid.service", "sshd.service"]):
        with pytest.raises(SaltInvocationError, match=r"^sshd\.service is not named in `then` of salt"):
            modules.pair.reload("salt", units)
    assert ran == []
    assert modules.pair.reload("salt", ("squid.service", "nginx.service")) == [
        "squid.service",
        "nginx.service",
    ]
    assert ran == [["systemctl", "try-reload-or-restart", "--", "squid.service", "nginx.service"]]


def test_repositories_are_pushed_for_the_run_that_owns_the_pair(modules, configure):
    member = configure(git=[])
    member.lock.acquire(RUN, "recover", {"boot_id": "elsewhere"}, 600)
    assert modules.pair.push_git("salt", RUN) == []
    missing = str(member.paths.root / "no/such.git")
    configure(git=[missing])
    with pytest.raises(CommandExecutionError, match=r"no/such\.git"):
        modules.pair.push_git("salt", RUN)


# --- the watch ----------------------------------------------------------------------------------------

SEEN = {"salt-gw": {"seen": True, "held": False}}


@pytest.fixture
def watch(member, monkeypatch):
    """Writes what a watch says of itself, as if it ran in this process."""

    def write(addresses, pair="salt", cron="gateway-ip", pid=None):
        content = {"pid": os.getpid() if pid is None else pid, "pairs": {pair: {"addresses": addresses}}}
        files.write_json(member.paths.watch_status(cron), content)

    return write


def slept(modules, monkeypatch, meanwhile):
    """Something happens while the module waits, once."""
    module, planned = sys.modules[modules["pair.watching"].__module__], [meanwhile]
    samples.in_place_of_time(monkeypatch, module, sleep=lambda seconds: planned.pop()())


def test_a_watch_is_started_and_waited_for_until_it_has_seen_the_active_node(
    modules, configure, watch, ran, monkeypatch
):
    member = configure("salt2")
    slept(modules, monkeypatch, lambda: watch(SEEN))
    assert modules.pair.watching("salt") == ["gateway-ip"]
    assert ran == [[str(member.paths.program), "watch", "gateway-ip"]]


@pytest.mark.parametrize(
    "addresses, pid, said",
    [
        (SEEN, 2**22 + 1, "gateway-ip does not run"),
        (SEEN, 0, "gateway-ip does not run"),
        (None, None, "gateway-ip does not know salt yet"),
        ({}, None, "gateway-ip does not know salt yet"),
        ({"b": {"seen": False, "held": False}, **SEEN}, None, "gateway-ip has not seen b answered"),
        ({"b": {"seen": False, "held": True}, **SEEN}, None, None),
    ],
)
def test_a_watch_that_could_not_take_over_is_none(modules, configure, watch, ran, addresses, pid, said):
    configure("salt2")
    with pytest.raises(
        CommandExecutionError, match="on salt2 is not ready after 0 s: gateway-ip does not run"
    ):
        modules.pair.watching("salt", limit=0)
    watch(addresses, pid=pid)
    if said is None:
        assert modules.pair.watching("salt", limit=0) == ["gateway-ip"]
        return
    with pytest.raises(CommandExecutionError, match=f"on salt2 is not ready after 0 s: {said}"):
        modules.pair.watching("salt", limit=0)


def test_a_watch_knows_a_pair_by_its_own_name(modules, configure, watch, ran):
    configure("salt2")
    watch(SEEN, pair="web")
    with pytest.raises(CommandExecutionError, match="does not know salt yet"):
        modules.pair.watching("salt", limit=0)


@pytest.mark.parametrize(
    "node, on, crons",
    [
        ("salt1", ("secondary", "secondary"), []),
        ("salt1", ("primary", "secondary"), ["a"]),
        ("salt2", ("primary", "secondary"), ["b"]),
        ("salt2", ("both", "both"), ["a", "b"]),
        ("salt1", ("nobody", "both"), ["b"]),
    ],
)
def test_a_node_watches_what_the_pillar_has_it_watch(modules, configure, watch, ran, node, on, crons):
    addresses = [{**samples.PAIR["floating_ips"][0], "name": one} for one in ("one", "two")]
    for address, where, cron in zip(addresses, on, ("a", "b")):
        address["watch"] = {"on": where, "cron": cron}
    configure(node, floating_ips=addresses)
    for cron in ("a", "b"):
        watch(SEEN, cron=cron)
    assert modules.pair.watching("salt", limit=0) == crons
    assert [argv[-1] for argv in ran] == crons


# --- the other node -----------------------------------------------------------------------------------

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"


def test_a_node_knows_the_other_one_for_good_by_what_that_says_of_itself(modules, member, ran):
    (member.paths.root / "etc/ssh").mkdir(parents=True)
    (member.paths.root / "etc/ssh/ssh_host_ed25519_key.pub").write_text(f"{KEY} root@salt1\n")
    with pytest.raises(CommandExecutionError, match="highstate makes it"):
        modules.pair.identity()
    files.make_folder(member.paths.private_key.parent)
    pathlib.Path(f"{member.paths.private_key}.pub").write_text(f"{KEY}own failback@salt1\n")
    said = modules.pair.identity()
    assert (said["public_key"], said["host_keys"]) == (f"{KEY}own", [KEY])
    assert modules.pair.trusted() == {}
    told = (said["public_key"], said["host_keys"], ["10.0.0.12"])
    assert modules.pair.trust("salt", *told) is True
    assert modules.pair.trust("salt", *told) is False
    assert modules.pair.trusted()["salt"]["addresses"] == ["10.0.0.12"]
    with pytest.raises(CommandExecutionError, match="is not an OpenSSH public key"):
        modules.pair.trust("salt", "not a key", [])
    assert modules.pair.trusted()["salt"]["public_key"] == said["public_key"]


def test_who_answers_with_the_pairs_key_is_named(modules, configure, ran):
    configure()
    ran.says["report"] = json.dumps({"node": "salt2"})
    assert modules.pair.reaches_peer("salt") == "salt2"
    ran.fails.add("report")
    with pytest.raises(CommandExecutionError):
        modules.pair.reaches_peer("salt")


# --- what is left, what is around ---------------------------------------------------------------------


def test_a_node_that_has_forgotten_the_pair_says_what_is_left_of_it(modules, member, quiet, ran):
    """The master tells it what the pair was; whose copy that is does not matter."""
    ran.says["salt-master"] = "enabled\n"
    config = samples.pair("salt2")
    left = modules.pair.remains(config)
    assert (left["node"], left["known"], left["held"], left["state"]) == ("salt1", False, [], None)
    assert left["units"] == {"salt-master": {"active": "inactive", "enabled": "enabled"}}
    files.write_json(member.paths.pair_config("salt"), samples.pair("salt1"))
    Member("salt", member.paths).ledger.write(ledger.Entry(4, "salt1", None, "a test"))
    left = modules.pair.remains(config)
    assert left["known"] is True and left["state"] == str(member.paths.state("salt"))


def test_only_files_that_failback_has_written_are_its_own(modules, member):
    assert modules.pair.own_lsyncd() == []
    unit = member.paths.root / "etc/systemd/system/lsyncd.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/usr/bin/lsyncd\n")
    assert modules.pair.own_lsyncd() == []
    unit.write_text(f"[Service]\nExecCondition={member.paths.program} gate\n")
    assert modules.pair.own_lsyncd() == [str(unit)]


def test_a_node_says_what_a_pillar_may_name_of_it(modules, member):
    config = samples.pair("elsewhere", services=[], active_services=[])
    (member.paths.root / "srv/salt").mkdir(parents=True)
    found = modules.pair.surroundings()
    assert found["node"] == "salt1" and found["pairs"] == {} and "lo" not in found["interfaces"]
    found = modules.pair.surroundings([config, samples.pair("x", name="web", primary={"id": "w1"},
                                                            secondary={"id": "w2"})])  # fmt: skip
    assert list(found["pairs"]) == ["salt"] and found["pairs"]["salt"]["paths"] == {"/srv/salt": True}


# --- a run, for a page --------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """Spans and numbers of lines for which the log was asked."""
    spans = []
    monkeypatch.setattr(journal_lines, "of", lambda *span: spans.append(span) or [{"text": "said"}])
    return spans


BEGUN = 1795372200  # of RUN's id


@pytest.mark.parametrize(
    "record, begun, ended",
    [
        (None, BEGUN, BEGUN + 1800),
        ({"result": "running"}, BEGUN, BEGUN + 1800),
        ({"started": "2026-11-22T18:40:00Z"}, BEGUN + 600, BEGUN + 600 + 1800),
        ({"started": "2026-11-22T18:40:00Z", "finished": "2026-11-22T18:41:00Z"}, BEGUN + 600, BEGUN + 660),
    ],
    ids=["no record", "no times", "never closed", "closed"],
)
def test_the_log_of_a_run_is_that_of_its_time_and_of_a_moment_around(
    modules, configure, asked, record, begun, ended
):
    member = configure()
    if record:
        member.runs.write(RUN, record)
    found = modules.pair.run_details("salt", RUN, lines="7")
    ((since, until, lines),) = asked
    assert found["log"] == [{"text": "said"}] and found["log_error"] is None
    assert 0 < begun - since <= 60 and 0 < until - ended <= 60 and lines == 7
    assert (found["record"] or {}).items() >= (record or {}).items()


def test_a_log_that_cannot_be_read_hides_nothing_else(modules, configure, monkeypatch):
    def silent(*_):
        raise Unavailable("There is no journal here.")

    monkeypatch.setattr(journal_lines, "of", silent)
    configure().runs.write(RUN, {"result": "failed"})
    found = modules.pair.run_details("salt", RUN)
    assert found["log_error"] == "There is no journal here." and found["log"] == []
    assert found["record"]["result"] == "failed"
