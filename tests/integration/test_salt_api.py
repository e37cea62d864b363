"""An operator without root: what salt-api lets alice do, what it does not, and whom the history names."""

import json
import pathlib
import re
import urllib.error
import urllib.request

import pair_site
import pytest
import salt.config
import salt.utils.minions
import yaml

TREE = pathlib.Path(__file__).resolve().parents[2]


class Api:
    """salt-api, as curl would speak to it."""

    def __init__(self, port):
        self._url = f"http://127.0.0.1:{port}/run"

    def run(self, user, function, *words, full=False, **given):
        """A function of a runner: ``(HTTP status, what it returned)``."""
        low = {
            "client": "runner",
            "fun": function,
            "arg": list(words),
            "kwarg": given,
            "username": user,
            "password": pair_site.SECRET,
            "eauth": "sharedsecret",
            "full_return": full,
        }
        request = urllib.request.Request(
            self._url,
            data=json.dumps([low]).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                said = json.load(answer)["return"][0]
                # In full it is the event of the job's return.
                return answer.status, said["data"] if full else said
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")


@pytest.fixture(scope="module")
def api(whole_site):
    port = whole_site.master.config["rest_cherrypy"]["port"]
    with whole_site.master.salt_api_daemon().started(start_timeout=90):
        yield Api(port)


def shown(key):
    """The settings of ``docs/security.md`` that have this key."""
    page = (TREE / "docs/security.md").read_text()
    blocks = [yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)]
    (found,) = [one[key] for one in blocks if key in one]
    return found


def test_what_the_page_on_security_shows_is_what_is_tried_here(site):
    assert shown("external_auth")["pam"]["alice"] == pair_site.API["external_auth"]["sharedsecret"]["alice"]


@pytest.mark.parametrize(
    "function, allowed",
    [
        ("pair.report", True),
        ("pair.pause", True),
        ("lsyncd.status", True),
        ("pair.take", False),
        ("pair.orchestrate", False),
        ("cmd.run", False),
    ],
)
def test_publisher_acl_as_shown_lets_somebody_look_and_pause(site, function, allowed):
    config = salt.config.master_config(site.master.config["conf_file"])
    checker = salt.utils.minions.CkMinions(config)
    given = shown("publisher_acl")["alice"]
    assert checker.auth_check(given, function, [["salt"]], "salt1", "glob") is allowed
    # Salt lets anybody ask a minion that there is not: it reaches none.
    other = pathlib.Path(config["pki_dir"], "minions/client")
    other.write_bytes((other.parent / "salt1").read_bytes())
    try:
        assert not salt.utils.minions.CkMinions(config).auth_check(
            given, function, [["salt"]], "client", "glob"
        )
    finally:
        other.unlink()


def test_what_is_not_given_is_not_allowed(api, site):
    before = site.trees()
    for function, given in (
        ("pair.adopt", {"pair": "salt"}),
        ("pair.retire", {"pair": "salt"}),
        ("pair.undo", {"run": "20261122T183000-recover-salt-4f2a"}),
        ("pair.vm", {"vm": "idm"}),
        ("state.orch", {"mods": "orch.recover"}),
        ("salt.cmd", {"fun": "cmd.run"}),
    ):
        status, said = api.run(pair_site.OPERATOR, function, **given)
        assert (status, "pair" in str(said) and "retcode" in str(said)) == (401, False), (function, said)
    assert api.run("bob", "state.orch", "orch.adopt", pillar={"pair": "salt"})[0] == 401
    assert api.run("mallory", "pair.status")[0] == 401
    assert site.trees() == before


def test_an_operator_boots_a_pair_and_the_history_names_him(api, site):
    site.ledgers((6, "salt1", False), (6, "salt1", False))
    status, said = api.run(pair_site.OPERATOR, "pair.boot", pair="salt", full=True)
    assert (status, said["success"], said["return"]["retcode"]) == (200, True, 0), said
    assert said["return"]["sentence"].startswith("Run ")
    _, said = api.run(pair_site.OPERATOR, "pair.history", pair="salt")
    assert [(one["operation"], one["user"]) for one in said["runs"]] == [("boot", pair_site.OPERATOR)], said
    site.run("pair.pause", "salt", "5").good()
    _, said = api.run(pair_site.OPERATOR, "pair.pause", pair="salt", minutes=30, reason="switch maintenance")

    assert re.search(r"paused until [0-9: -]+ by alice: switch maintenance", said["comment"]), said
    _, said = api.run(pair_site.OPERATOR, "pair.status", pair="salt", timeout=60)
    assert said["pairs"]["salt"]["pause"]["user"] == pair_site.OPERATOR, said
    api.run(pair_site.OPERATOR, "pair.resume", pair="salt")


def test_a_refused_run_is_an_error_for_the_program_that_asked(api, site):
    site.ledgers((7, "salt1"), (7, "salt2"))
    before = site.trees()
    status, said = api.run(pair_site.OPERATOR, "pair.recover", pair="salt", full=True)
    assert status == 200  # Salt's own; what counts is in the answer
    assert (said["success"], said["return"]["retcode"], said["return"]["refused"]) == (False, 1, True), said
    assert "split-brain" in said["return"]["sentence"]
    assert site.trees() == before


@pytest.mark.parametrize(
    "user, function, words, given, reason",
    [
        (pair_site.OPERATOR, "pair.boot", (), {"pair": "salt", "plann": "1"}, "plann"),
        (pair_site.OPERATOR, "pair.recover", (), {"pair": "slat"}, "There is no pair slat"),
        (
            "bob",
            "state.orch",
            ("orch.boot",),
            {"pillar": {"pair": "salt", "plann": "1"}},
            "does not know plann",
        ),
        (
            "bob",
            "state.orch",
            ("orch.boot",),
            {"pillar": {"pair": "all", "plann": "1"}},
            "does not know plann",
        ),
        (
            "bob",
            "state.orch",
            ("orch.recover",),
            {"pillar": {"pair": "salt", "max_delet": 9}},
            "did you mean max_delete?",
        ),
    ],
)
@pytest.mark.one_release(but="the first case")
def test_what_is_misspelt_is_refused_for_every_caller(api, site, user, function, words, given, reason):
    site.ledgers((6, "salt1", False), (6, "salt1", False))
    before = site.trees()
    _, said = api.run(user, function, *words, full=True, **given)
    assert said["success"] is False, said
    assert reason in json.dumps(said["return"])
    assert site.trees() == before
