"""What a node says of the files that come to it, and who is believed."""

import pytest

from failback_master.surface import heard_files

SAID = {"done": 312_000_000, "whole": 1_204_000_000, "per_second": 48_100_000}


def event(data=SAID, node="salt1"):
    return {"id": node, "tag": "failback/salt/run/pre-sync/moved", "data": data}


def test_a_sentence():
    assert heard_files.sentence(event(), "salt1") == "312 of 1,204 MB, 48.1 MB/s"
    small = {"done": 0, "whole": 90, "per_second": 12}
    assert heard_files.sentence(event(small), "salt1") == "0.0 of 0.0 MB, 0.0 MB/s"


@pytest.mark.parametrize(
    "what",
    [
        None,
        "text",
        {},
        event(node="salt2"),
        event(None),
        event("text"),
        event({}),
        event({**SAID, "done": None}),
        event({**SAID, "whole": "many"}),
        event({**SAID, "per_second": float("inf")}),
        event({**SAID, "per_second": float("nan")}),
        event({**SAID, "done": "\x1b[2J"}),
    ],
)
def test_nothing_is_said_of_what_somebody_else_says_or_nobody_can_read(what):
    assert heard_files.sentence(what, "salt1") is None
