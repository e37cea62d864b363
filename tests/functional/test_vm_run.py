"""What ``orch.vm`` refuses by its words alone, before a host is asked."""

import importlib.util
import pathlib

import pytest

from failback_master import minions

STATES = pathlib.Path(__file__).parents[2] / "salt/_states"
PAIR = {
    "primary": "salt1",
    "secondary": "salt2",
    "replicate": ["/srv/salt"],
    "vms": ["idm", "repo"],
}

WRONG = [
    ({}, "No guest was named"),
    ({"vm": "nosuch", "host": "salt1"}, "There is no guest nosuch (guests: idm, repo; or all)"),
    ({"vm": "--all", "host": "salt1"}, "'--all' is not the name of a guest"),
    ({"vm": "../../etc/x", "host": "salt1"}, "is not the name of a guest"),
    ({"vm": ["idm"], "host": "salt1"}, "No guest was named"),
    ({"vm": "idm"}, "host or away_from"),
    ({"vm": "idm", "host": "salt1", "away_from": "salt2"}, "host or away_from"),
    ({"vm": "idm", "host": "salt9"}, "host must be one of salt1, salt2, not 'salt9'"),
    ({"vm": "idm", "host": "salt1", "how": "fast"}, "how must be live or restart, not 'fast'"),
    ({"vm": "idm", "host": "salt1", "fenced": "salt2"}, "fenced: salt2 needs a reason"),
    ({"vm": "idm", "host": "salt1", "reason": "x"}, "A reason without the node"),
    ({"vm": "idm", "host": "salt1", "fenced": "salt1", "reason": "x"}, "cannot be declared off"),
]


class Asked(AssertionError):
    """A host was asked."""


def nobody(opts):
    raise Asked


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """The first step of ``orch.vm`` as the master's loader has it."""
    spec = importlib.util.spec_from_file_location("vm_run", STATES / "vm_run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__opts__ = {"test": False, "id": "salt2_master", "conf_file": str(tmp_path / "master")}
    module.__pillar__ = {"pairs": {"salt": PAIR}}
    module.__context__ = {}
    monkeypatch.setattr(minions, "Nodes", nobody)
    return lambda **words: module.opened("The hosts answer and the guests may go there", **words)


@pytest.mark.parametrize("words, why", WRONG, ids=[why for _, why in WRONG])
def test_bad_words_are_refused(opened, words, why):
    said = opened(**words)
    assert said["result"] is False and said["changes"] == {}
    assert why in said["comment"], said["comment"]


def test_with_the_right_words_the_hosts_are_asked(opened):
    with pytest.raises(Asked):
        opened(vm="idm", host="salt1")
