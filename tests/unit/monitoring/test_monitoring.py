"""What a node notes of a pair, for who is not root; the rules and the dashboard that are shipped."""

import json
import pathlib
import re
import stat

import pytest
import samples
import yaml

from failback import cli
from failback import report
from failback.decisions import metrics
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.monitoring import facts
from failback.pair import Member
from failback.state import configuration
from failback.watch import keeper

SHIPPED = pathlib.Path(__file__).parents[3] / "docs/monitoring"


def reported(node="salt1"):
    """A report in the shape of ``failback.report``, with things in it that are nobody's business."""
    return {
        "node": node,
        "pair": "salt",
        "role": "primary" if node == "salt1" else "secondary",
        "time": 1000.0,
        "boot_id": "this boot",
        "ledger": {**samples.ledger(7, "salt1"), "why": "SECRET"},
        "ledger_error": None,
        "addresses": [{"name": "salt-gw", "held": node == "salt1", "mac": "SECRET"}],
        "lsyncd": {"running": node == "salt1"},
        "gate": None,
        "services": {"salt-master": "active"},
        "active_services": {},
        "pause": None,
        "lock": {"run": samples.RUN, "state": "expired", "operation": "recover", "owner": {"pid": "SECRET"}},
        "fenced": None,
        "fence": {"node": "salt2", "agent": "fence_ipmilan", "well": True, "sentence": "SECRET"},
        "sources": {"/srv/salt": {"SECRET": True}},
        "misplaced": {},
        "lease": None,
        "uncompared": None,
        "reachable": None,
        "readiness": {
            "installed": True,
            "looked": 4.0,
            "ready": True,
            "not_ready": None,
            "lag": 3.5,
            "in_step": None,
            "failing": {"said": "SECRET"},
        },
        "requests": [],
        "last_run": samples.RUN,
    }


@pytest.fixture
def member(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "report", lambda member: reported(member.node))
    found = Member.of(samples.pair("salt1"), Paths(tmp_path))
    found.runs.write(
        samples.RUN,
        {"operation": "recover", "result": "succeeded", "steps": ["SECRET"], "sentence": "SECRET"},
    )
    found.runs.note("takeover", "why", "SECRET")
    files.make_folder(found.paths.public)
    return found


def test_what_is_noted_is_for_everybody_and_has_no_more_than_that(member):
    facts.note(member)
    place = member.paths.public / "facts-salt.json"
    assert stat.S_IMODE(place.stat().st_mode) == 0o644
    assert stat.S_IMODE(member.paths.public.stat().st_mode) == 0o755
    text = place.read_text()
    assert "SECRET" not in text
    known = json.loads(text)
    assert (known["last_run"]["operation"], known["runs"]) == ("takeover", {"recover": 1, "takeover": 1})
    assert set(known) >= {"pair", "node", "boottime", "figures", "watches"}


def test_a_pair_that_is_well(member, capsys):
    facts.note(member)
    assert cli.main(["check", "salt"], member.paths) == 0
    assert re.fullmatch(
        r"FAILBACK OK: salt1 serves salt, generation 7 \| facts_age=\d(\.\d)?s;;;0 generation=7;;;0 "
        r"lag=7.5s;;;0\n",
        capsys.readouterr().out,
    )
    assert cli.main(["check"], member.paths) == 0


def test_a_keeper_that_has_died_is_not_known_to_be_well(member, monkeypatch, capsys):
    facts.note(member)
    later = system.boottime() + 90
    monkeypatch.setattr(system, "boottime", lambda: later)
    assert cli.main(["check", "salt"], member.paths) == 3
    assert "its keeper does not run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check"], "nothing was noted of any pair"),
        (["check", "other"], "nothing was noted of other"),
        (["check", "../../etc/x"], "is not the name of a pair"),
    ],
)
def test_what_is_not_known_is_neither_well_nor_a_warning(tmp_path, capsys, words, said):
    assert cli.main(words, Paths(tmp_path)) == 3
    out = capsys.readouterr().out
    assert out.startswith("FAILBACK UNKNOWN: ") and said in out and out.count("\n") == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 99}', '{"version": 1}'])
def test_a_file_that_is_damaged_is_not_known_either(member, capsys, content):
    (member.paths.public / "facts-salt.json").write_text(content)
    assert cli.main(["check"], member.paths) == 3
    assert capsys.readouterr().out.startswith("FAILBACK UNKNOWN: ")


@pytest.mark.parametrize("words", [["check", "--what"], ["check", "a", "b"]])
def test_a_plug_in_that_is_called_wrongly_does_not_warn(words, capsys):
    assert cli.main(words) == 3


def test_figures_are_replaced_as_a_whole_and_stay_when_there_are_no_new_ones(member, tmp_path, capsys):
    facts.note(member)
    output = tmp_path / "failback.prom"
    assert cli.main(["metrics", "--output", str(output)], member.paths) == 0
    assert stat.S_IMODE(output.stat().st_mode) == 0o644
    before = output.read_text()
    assert 'failback_state{pair="salt",node="salt1"} 0\n' in before
    assert [one.name for one in tmp_path.glob("*.prom*")] == ["failback.prom"]
    (member.paths.public / "facts-salt.json").write_text("{")
    assert cli.main(["metrics", "--output", str(output)], member.paths) == 1
    assert output.read_text() == before
    facts.note(member)
    assert cli.main(["metrics"], member.paths) == 0
    assert "# TYPE failback_generation gauge" in capsys.readouterr().out


def test_what_goes_wrong_once_is_said_once_and_looked_at_again(member, monkeypatch):
    logged, looks = [], []
    member.paths.pairs.mkdir(parents=True)
    (member.paths.pairs / f"{member.pair}.json").write_text("{}")
    monkeypatch.setattr(system, "log", lambda sentence, priority: logged.append(sentence))

    class Ends(Exception):
        pass

    class Waiting:
        def wait(self, seconds):
            looks.append(seconds)
            if len(looks) == 3:
                raise Ends

    def fail(member):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(facts.threading, "Event", Waiting)
    monkeypatch.setattr(facts, "note", fail)
    with pytest.raises(Ends):
        facts._go_on(member)
    assert len(logged) == 1 and "No space left" in logged[0]


def test_a_pair_that_is_retired_ends_the_notes_and_its_keeper_without_a_word(member, monkeypatch):
    logged = []
    monkeypatch.setattr(system, "log", lambda sentence, *_: logged.append(sentence))
    monkeypatch.setattr(keeper.syslog, "syslog", lambda *words: logged.append(words))
    for asked in ((facts.report, "report"), (keeper.put_back, "facts")):
        monkeypatch.setattr(*asked, lambda member: configuration.load(member.pair, member.paths))
    facts._go_on(member)
    assert keeper.main(member, foreground=True) == 0
    assert logged == []


def test_the_facts_are_noted_in_a_thread_that_keeps_nobody(member, monkeypatch):
    begun = []

    class Thread:
        def __init__(self, **how):
            begun.append(how)

        def start(self):
            begun.append("started")

    monkeypatch.setattr(facts.threading, "Thread", Thread)
    facts.begin(member)
    how, started = begun
    assert how["target"] is facts._go_on and how["args"] == (member,) and how["daemon"] is True
    assert started == "started"


def test_the_lag_is_kept_hour_by_hour_from_what_was_noted(member, monkeypatch):
    kept = []

    class Lags:
        def __init__(self, member):
            pass

        def note(self, lag, now, uptime):
            kept.append((lag, now, uptime))

    class Ends(Exception):
        pass

    class Waiting:
        def wait(self, seconds):
            assert seconds == facts.EVERY
            raise Ends

    monkeypatch.setattr(facts.lags, "Lags", Lags)
    monkeypatch.setattr(facts.threading, "Event", Waiting)
    with pytest.raises(Ends):
        facts._go_on(member)
    ((lag, now, uptime),) = kept
    assert lag == 7.5 and now > 1e9 > uptime > 0


@pytest.mark.parametrize(
    ("boot", "own", "known"),
    [("this boot", True, {"lag": 7.5}), ("another", True, {}), ("this boot", False, {})],
)
def test_a_lag_is_known_where_a_node_takes_part_in_this_boot(boot, own, known):
    said = {**reported(), "boot_id": boot}
    if not own:
        said["ledger"] = None
    assert facts._figures(said) == known


def test_a_run_that_cannot_be_read_is_the_newest_all_the_same(member):
    """One that is passed over in silence would be taken for one that went well."""
    runs = member.runs.folder
    assert facts._newest(member)["operation"] == "takeover"
    later = "20361122T183000-recover-salt-4f2a"
    files.make_folder(runs / later)
    (runs / later / "run.json").write_text("{")
    found = facts._newest(member)
    assert (found["run"], found["result"]) == (later, "unreadable") and found["sentence"]
    (runs / "no-run").mkdir()
    assert facts._newest(member)["run"] == later
    assert facts._operations(member) == {"recover": 2, "takeover": 1}


def test_a_node_that_has_never_run_anything_has_no_newest_run(tmp_path):
    member = Member.of(samples.pair("salt1"), Paths(tmp_path))
    assert facts._newest(member) is None and facts._operations(member) == {}


def test_the_watches_that_are_noted_are_this_nodes(tmp_path):
    both = {**samples.SECOND, "watch": {"on": "both", "cron": "second-ip"}}
    config = {"floating_ips": [samples.PAIR["floating_ips"][0], both]}
    for node, crons in (("salt1", {"second-ip"}), ("salt2", {"gateway-ip", "second-ip"})):
        assert facts._crons(Member.of(samples.pair(node, **config), Paths(tmp_path))) == crons


def test_what_a_watch_says_is_read_beside_the_facts_and_a_damaged_one_hides_none(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "report", lambda member: reported(member.node))
    member = Member.of(samples.pair("salt2"), Paths(tmp_path))
    files.make_folder(member.paths.public)
    facts.note(member)
    noted = facts.Noted(member.paths)
    later = system.boottime() + 5
    monkeypatch.setattr(system, "boottime", lambda: later)
    found, watches = noted.read()
    known, age = found["salt"]
    assert known["node"] == "salt2" and age == pytest.approx(5, abs=1) and watches == {"gateway-ip": None}
    place = member.paths.watch_status("gateway-ip")
    files.write_json(place, {"pid": 1})
    assert noted.read()[1] == {"gateway-ip": {"pid": 1}}
    place.write_text("{")
    found, watches = noted.read("salt")
    assert list(found) == ["salt"] and watches == {}
    assert noted.read("other") == ({}, {})


# --- what is shipped for Prometheus and Grafana ------------------------------------------------------


def names_in(expression):
    return set(re.findall(r"\bfailback_[a-z_]+", expression))


def rules():
    return yaml.safe_load((SHIPPED / "failback.rules.yml").read_text())["groups"][0]["rules"]


def dashboard():
    return json.loads((SHIPPED / "grafana.json").read_text())


def expressions_of_the_dashboard():
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def test_rules_and_dashboard_speak_of_metrics_that_there_are():
    asked = [one["expr"] for one in rules()] + list(expressions_of_the_dashboard())
    assert len(asked) > 12
    for expression in asked:
        assert names_in(expression) <= set(metrics.METRICS), expression
        assert names_in(expression)


def test_the_dashboard_shows_all_that_there_is():
    shown = set().union(*map(names_in, expressions_of_the_dashboard()))
    # What lies behind the state of a node, which the plug-in's line says by name, and what is a date.
    behind = {"admitted", "address_held", "service_active", "lsyncd_running", "last_run_success"}
    dates = {"active_since_timestamp_seconds", "watch_looked_timestamp_seconds"}
    # Of a pair with a lease alone; and what the choice of pairs is made of.
    others = {"etcd_silent_seconds", "info"}
    assert shown == set(metrics.METRICS) - {f"failback_{one}" for one in behind | dates | others}


def test_each_rule_says_what_to_do():
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]
