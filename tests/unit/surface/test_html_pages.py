"""The pages of a run and of a pair: valid, alone, and with names that are text whatever is in them."""

import html.parser
import json
import re
import time

import pytest
import samples

from failback.host.paths import Paths
from failback.pair import Member
from failback.recovery import backup
from failback.recovery import listed
from failback.replication import replicated
from failback_master.surface import html as markup
from failback_master.surface import pair_page
from failback_master.surface import run_page

#: What somebody may call a file, a reason or a host.
HOSTILE = "</code><script>alert(1)</script><img src=x onerror='alert(2)'>\"&\n\u202e\033[31m"
#: Elements that have no end (HTML, 13.1.2).
VOID = {"meta", "br"}
NOW = 1_764_000_000.0


class Checker(html.parser.HTMLParser):
    """Every element is closed where it should be; what the page consists of is collected."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.said = [], set(), [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        if "style" not in self.open:
            self.said.append(data)


def read(page):
    """What a page says, as text; it is well formed, and has nothing that acts or that is fetched."""
    assert page.startswith("<!DOCTYPE html>\n")
    found = Checker()
    found.feed(page)
    found.close()
    assert found.open == []
    assert not found.tags & {"script", "img", "link", "iframe", "object", "form", "a", "base"}
    for name, value in found.attributes:
        assert not name.startswith("on") and name not in ("href", "src", "style", "srcset"), (name, value)
    assert "url(" not in page and "@import" not in page and "\033" not in page and "\u202e" not in page
    return "".join(found.said)


def step(name, result=True, seconds=1.5, comment="It is done."):
    return {"step": name, "result": result, "comment": comment, "seconds": seconds}


RECORD = {
    "run": samples.RUN,
    "pair": "salt",
    "operation": "recover",
    "started": "2025-11-20T18:30:00Z",
    "finished": "2025-11-20T18:31:00Z",
    "result": "succeeded",
    "verdict": "failed_over",
    "sentence": "salt is served by salt1.",
    "steps": [step("pause"), step("pre-sync", seconds=12), step("handover", seconds=0.4)],
    "plan": ["pause", "pre-sync", "handover"],
    "facts": {
        "window_milliseconds": 61.4,
        "after": {"verdict": "normal", "active": "salt1", "generation": 8},
    },
    "window": {
        "taker": "salt1",
        "nodes": {
            "salt1": [
                {"milliseconds": 20.0, "step": "release is asked for"},
                {"milliseconds": 81.4, "step": "the addresses are taken and announced"},
            ],
            "salt2": [{"milliseconds": 1.25, "step": "the addresses are released"}],
        },
    },
    "master": "salt2_master",
    "user": "ana",
}


def files(path="/srv/salt", names=("/srv/salt/a",), deleted=0, conflicts=None):
    return {
        "path": path,
        "passes": 2,
        "counts": {"overwritten": len(names), "deleted": deleted, "created": 0, "attributes": 0},
        "names": {"overwritten": list(names), "deleted": [], "created": [], "attributes": []},
        "conflicts": len(conflicts or {}),
        "conflict_names": conflicts or {},
    }


def details(record=RECORD, files=(), log=(), log_error=None):
    return {"record": record, "files": list(files), "log": list(log), "log_error": log_error}


def of_run(*nodes, errors=None):
    known = dict(zip(("salt1", "salt2"), nodes))
    return read(run_page.page(samples.RUN, samples.pair(), known, errors or {}))


def test_the_page_of_a_run_has_its_plan_its_window_its_files_and_its_log():
    log = [{"time": NOW + 0.25, "priority": 4, "text": "salt1 is active"}]
    said = of_run(details(files=[files(conflicts={"/srv/salt/a": "newer here"})], log=log), details())
    for wanted in (
        "recover of salt",
        "ana on salt2_master",
        "No node had the addresses for 61.4 ms",
        "nobody, 61.4 ms",
        "normal, salt1 active, generation 8",
        "/srv/salt/a newer here",
        "1 overwritten in /srv/salt",
        "salt1 is active",
        time.strftime("%H:%M:%S.250", time.gmtime(NOW)),
    ):
        assert wanted in said, wanted


def test_a_run_that_failed_shows_where_and_what_was_not_reached():
    failed = {
        **RECORD,
        "result": "failed",
        "window": None,
        "steps": [step("pause"), step("pre-sync", False, comment="No room.")],
    }
    said = of_run(details(failed))
    assert "failed" in said and "No room." in said and "not reached" in said
    assert "The window" not in said


def test_a_step_that_is_done_twice_stands_twice_in_its_order():
    twice = {**RECORD, "plan": ["git", "handover", "compare"]}
    twice["steps"] = [
        step("precheck"),
        step("git", comment="G1"),
        step("handover"),
        step("git", comment="G2"),
    ]
    said = of_run(details(twice))
    assert said.index("G1") < said.index("G2") < said.index("not reached")


def test_a_run_that_died_is_said_to_have_never_closed():
    opened = {**RECORD, "finished": None, "result": None, "steps": [], "facts": {}, "window": None}
    said = of_run(details(opened), errors={"salt2": "no answer"})
    assert "never closed" in said and "not reached" in said
    assert "or it has died: salt-run pair.status salt says which" in said
    assert "salt2 said nothing of this run: no answer" in said


def test_of_two_records_the_one_with_an_end_counts():
    opened = {**RECORD, "finished": None, "result": None, "steps": []}
    assert "succeeded" in of_run(details(opened), details())


@pytest.mark.parametrize("lacking", ["release is asked for", "the addresses are taken and announced"])
def test_a_window_of_which_a_moment_is_lost_says_so(lacking):
    steps = [one for one in RECORD["window"]["nodes"]["salt1"] if one["step"] != lacking]
    window = {**RECORD["window"], "nodes": {**RECORD["window"]["nodes"], "salt1": steps}}
    said = of_run(details({**RECORD, "window": window}))
    assert "Who had the addresses when is not on record." in said
    assert "Who had the addresses when" not in of_run(details())


def test_a_record_of_an_earlier_release_has_less_and_is_shown_all_the_same():
    earlier = {key: RECORD[key] for key in RECORD if key not in ("plan", "facts", "window")}
    said = of_run(details(earlier))
    assert "pre-sync" in said and "not reached" not in said


def test_whatever_somebody_calls_a_file_is_text():
    hostile = {
        **RECORD,
        "sentence": HOSTILE,
        "reason": HOSTILE,
        "operation": HOSTILE,
        "steps": [step(HOSTILE, comment=HOSTILE)],
        "user": HOSTILE,
    }
    log = [{"time": NOW, "priority": 3, "text": HOSTILE}]
    known = files(HOSTILE, (HOSTILE,), conflicts={HOSTILE: HOSTILE})
    said = of_run(details(hostile, [known], log, HOSTILE), errors={HOSTILE: HOSTILE})
    assert said.count("<script>alert(1)</script>") > 8


def test_what_is_long_is_cut_beside_its_bar_and_whole_in_the_table():
    name = "a-step-with-a-very-long-name"
    said = of_run(details({**RECORD, "steps": [step(name)]}))
    assert "a-step-with-a-v…" in said and name in said


def test_a_hundred_thousand_files_with_names_that_are_html_are_counted_and_some_are_named(tmp_path):
    """From the list that a pass writes to the page: neither holds them all."""
    member = Member.of(samples.pair(), Paths(tmp_path))
    folder = backup.Folder(member.run_folder(samples.RUN))
    item = replicated.Item("/srv/salt", "/srv/salt", None)
    folder.prepare([item])
    entry = {"action": "overwritten", "size": 1, "code": ">f", "conflict": HOSTILE}
    with folder.list_file(item.module, 1).open("w") as to:
        for number in range(100_000):
            to.write(json.dumps({**entry, "path": f"/srv/salt/{number}{HOSTILE}"}) + "\n")
    found = listed.of_run(member, samples.RUN, 500)
    page = run_page.page(samples.RUN, samples.pair(), {"salt1": details(files=found)}, {})
    said = read(page)
    assert "100,000 (the first 500 named here) overwritten" in said
    assert "100,000 (the first 500 named here) conflicts" in said
    assert said.count("<script>alert(1)</script>") == 3 * 500
    assert len(page) < 500_000


# --- of a pair ---------------------------------------------------------------------------------------


def ago(days):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - days * 86400))


def takeover(days, node, **changes):
    return node, {
        "run": f"{days:03d}-takeover",
        "operation": "takeover",
        "started": ago(days),
        "finished": ago(days),
        "result": "succeeded",
        "sentence": f"{node} is active",
        **changes,
    }


def recovery(days, active, **changes):
    record = {
        **RECORD,
        "run": f"{days:03d}-recover",
        "started": ago(days),
        "finished": ago(days),
        "facts": {"window_milliseconds": 61.4, "after": {"active": active}},
        **changes,
    }
    return active, record


def of_pair(*records, reports=(None, None), errors=None, lags=None):
    kept = {"salt1": [], "salt2": []}
    for node, record in records:
        kept[node].append(record)
    return read(pair_page.page(samples.pair(), kept, reports, NOW, errors, lags=lags))


def serving(node, days):
    own = {**samples.ledger(7, node), "since": ago(days)}
    return {"node": node, "boot_id": "this boot", "ledger": own}


def test_the_page_of_a_pair_has_who_served_and_what_happened():
    said = of_pair(takeover(50, "salt2"), recovery(40, "salt1"), takeover(400, "salt2"))
    assert "takeovers by the watch1" in said.replace("\n", "")
    assert "longest window of a handover61.4 ms" in said.replace("\n", "")
    assert "10.0 days" in said and "40.0 days" in said
    # Before the first record nobody knows.
    assert "not on record40.0 days" in said.replace("\n", "")
    assert "400-takeover" not in said


@pytest.mark.parametrize("first", ["salt1", "salt2"])
def test_of_two_records_on_the_page_of_a_pair_the_one_with_an_end_counts(first):
    """One node may have died before the end was written there; whichever is read first."""
    _, closed = recovery(3, "salt1", sentence="It came home.")
    opened = {**closed, "finished": None, "result": None, "sentence": None, "facts": {}}
    second = "salt2" if first == "salt1" else "salt1"
    said = of_pair((first, closed), (second, opened)).replace("\n", "")
    assert "It came home." in said and "of these failed, or never closed0" in said
    assert "runs1" in said


@pytest.mark.parametrize(
    ("reports", "shares"),
    [
        # The ledger of the node that serves now says since when, whatever the records lack.
        ((serving("salt1", 30), None), {"salt1": "30.0 days", "salt2": "20.0 days"}),
        ((None, serving("salt2", 50)), {"salt1": "0 s", "salt2": "50.0 days"}),
        ((None, None), {"salt1": "0 s", "salt2": "50.0 days"}),
    ],
)
def test_the_node_that_serves_now_is_known_by_its_ledger(reports, shares):
    said = of_pair(takeover(50, "salt2"), reports=reports).replace("\n", "")
    for node, share in shares.items():
        assert f"{node}{share}" in said


def test_the_page_of_a_pair_has_what_each_node_is_worth_now():
    first, second = serving("salt1", 2), {**serving("salt1", 2), "node": "salt2"}
    first["readiness"] = {"ready": True, "lag": 3.0, "looked": 4.0}
    second["readiness"] = {
        "ready": False,
        "not_ready": {"for": 700.0, "about": ["rsync"]},
        "in_step": {"age": 720.0, "admitted_for": 9000.0},
    }
    said = of_pair(reports=(first, second)).replace("\n", "")
    assert "salt1servesyes7 s ago" in said
    assert "salt2stands byno: lsyncd does not carry everything12 minutes ago" in said
    # Of an earlier release, and of one that was not admitted.
    second = {**second, "readiness": None, "boot_id": "another boot"}
    assert "salt2takes no partnot known" in of_pair(reports=(None, second)).replace("\n", "")


def hour(days, worst):
    """An entry of ``pair.lags``."""
    return [(NOW - days * 86400) // 3600 * 3600, worst]


def test_the_page_of_a_pair_has_how_far_the_standby_was_behind():
    first = [hour(100, 5000.0), hour(40, 8.0), hour(3, 9.0), hour(0.2, 12.0)]
    # While salt1 was dead, salt2 alone knew it; and of an hour that both know, the worse counts.
    second = [hour(30, 700.0), hour(3, 45.0)]
    said = of_pair(lags={"salt1": first, "salt2": second}).replace("\n", "")
    assert "the last day12 sin the hour from 2025-11-24 11:00" in said
    assert "the last 7 days45 s" in said
    assert "all that is on record11 min" in said
    assert "5000" not in said and "83 min" not in said


@pytest.mark.parametrize(
    "entries", [[], None, [["x", 1]], [[1, 2, 3], 7], [[float("nan"), 1.0]], [[0, float("inf")]]]
)
def test_a_lag_that_nobody_knows_is_not_drawn(entries):
    assert "Not on record yet" in of_pair(lags={"salt1": entries})


@pytest.mark.parametrize("days", [0.05, 0.1, 1, 6, 89.99])
def test_the_lags_fill_the_line_and_do_not_leave_it(days):
    every = [hour(days * part / 400, 5.0 + part % 7) for part in range(401)]
    page = pair_page.page(samples.pair(), {}, (None, None), NOW, lags={"salt1": every})
    read(page)
    bars = re.findall(
        r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"[^>]*class="first"', page
    )
    assert bars
    for left, top, width, height in (map(float, bar) for bar in bars):
        assert left >= 100 and left + width <= 982 and top >= 0 and top + height <= 100.01
    assert max(float(left) + float(width) for left, _, width, _ in bars) >= 970


def test_the_first_hour_of_a_pair_is_drawn_at_the_scale_that_is_written_below_it():
    begin = NOW // 3600 * 3600
    page = pair_page.page(samples.pair(), {}, (None, None), begin + 900, lags={"salt1": [[begin, 13.0]]})
    (bar,) = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"[^>]*class="first"', page)
    assert [float(one) for one in bar] == [100.0, 880 / 4 - 1]
    assert "2025-11-24 16:00</text>" in page and "2025-11-24 17:00</text>" in page


def test_a_pair_of_which_nothing_is_known_says_so():
    said = of_pair(errors={"salt1": "no answer"})
    assert "Nothing is on record, and no node says that it serves." in said
    assert "salt1 did not answer: no answer" in said


def test_names_in_the_page_of_a_pair_are_text():
    said = of_pair(takeover(3, "salt2", sentence=HOSTILE, reason=HOSTILE), errors={HOSTILE: HOSTILE})
    assert said.count("<script>alert(1)</script>") == 4


def test_no_page_loads_or_runs_anything():
    page = markup.page(HOSTILE, [])
    assert "default-src 'none'" in page
    read(page)
