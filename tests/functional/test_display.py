"""What is printed of a command line of this tree, and where: in this process alone, and never twice."""

import logging
import sys

import pytest
import salt.output

from failback_master.surface import display
from failback_master.surface import live
from failback_master.surface import progress


@pytest.fixture
def printed(monkeypatch):
    """What Salt prints, by outputter; the process's own printing is as it was afterwards."""
    found = []
    monkeypatch.setattr(live, "SCREEN", live.Screen())
    monkeypatch.setattr(salt.output, "display_output", lambda data, out=None, opts=None: found.append(out))
    return found


@pytest.mark.parametrize(
    ("typed", "opts", "outputter", "looks"),
    [
        (["salt-run", "state.orch", "orch.recover"], {}, "pairs", True),
        (["salt-run", "state.orch", "orch.recover", "--state-output=full"], {}, "highstate", True),
        (["salt-run", "--state-output", "terse", "state.orch"], {}, "highstate", True),
        (["salt-run", "--out=json", "state.orch"], {"output": "json"}, "highstate", False),
        (["salt-run", "--async", "state.orch"], {"async": True}, "highstate", False),
    ],
)
def test_only_who_wants_salts_own_output_gets_it(printed, typed, opts, outputter, looks):
    display.begin(opts, "orch.recover salt", typed)
    salt.output.display_output({}, "highstate", {})
    salt.output.display_output({}, "nested", {})
    assert printed == [outputter, "nested"]
    assert live.SCREEN.is_open is looks


def test_a_failed_state_is_not_on_the_console_as_well(printed):
    root, stream = logging.getLogger(), sys.stderr
    handler = logging.StreamHandler(stream)
    root.addHandler(handler)
    try:
        display.begin({}, "orch.recover salt", ["salt-run"])
        made = [
            logging.LogRecord(name, level, "x", 1, "Refused", (), None)
            for name, level in (("salt.state", logging.ERROR), ("salt.master", logging.ERROR))
        ]
        assert [bool(handler.filter(one)) for one in made] == [False, True]
    finally:
        root.removeHandler(handler)


@pytest.mark.parametrize("opts", [{}, {"sock_dir": "/nonexistent", "id": "x", "__role": "master"}])
def test_an_event_that_nobody_takes_fails_nothing(opts):
    assert progress.fire(opts, "salt/run/static/begun", {}) is False
