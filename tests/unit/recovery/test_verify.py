"""What a comparison by checksum tells rsync: one direction only, and names that mean themselves."""

import fnmatch

import pytest

from failback.recovery import rsync
from failback.recovery import verify
from failback.replication import replicated

PEER = rsync.Peer("10.0.0.12", "ssh -F config")
DATA = replicated.item("/srv/data", is_directory=True)


@pytest.mark.parametrize("named", [True, False])
def test_a_look_can_move_nothing_and_a_repair_moves_it_to_the_peer_alone(named):
    look = verify.push_command(PEER, DATA, named, True)
    repair = verify.push_command(PEER, DATA, named, False)
    whole = "--no-inc-recursive"
    assert [one for one in look if one != "--dry-run"] == [one for one in repair if one != whole]
    assert "--dry-run" not in repair and whole in repair
    assert look[-2:] == ["/srv/data/", f"10.0.0.12::{DATA.module}/"], "from here to there"
    assert "--checksum" in look and set(replicated.OPTIONS) <= set(look)
    assert ("--exclude=*" in look) is named


def test_a_look_at_a_pattern_is_bounded_by_it():
    item = replicated.item("/srv/site/*.conf", is_directory=False)
    assert set(replicated.filters(item)) <= set(verify.push_command(PEER, item, False, True))


@pytest.mark.parametrize(
    "names, patterns",
    [
        ([b"./"], []),
        ([b"one"], [b"/one"]),
        ([b"a/b/c"], [b"/a/", b"/a/b/", b"/a/b/c"]),
        ([b"folder/", b"folder/x"], [b"/folder", b"/folder/", b"/folder/x"]),
        ([b"back\\slash"], [b"/back\\slash"]),
        ([b"star*\\"], [b"/star\\*\\\\"]),
        ([b"we[ir]d?/plain"], [b"/we\\[ir]d\\?/", b"/we\\[ir]d\\?/plain"]),
        ([b"line\nbreak"], [b"/line\nbreak"]),
        ([b"\xff\xfe"], [b"/\xff\xfe"]),
    ],
)
def test_a_name_is_a_pattern_of_itself_and_of_what_leads_to_it(names, patterns):
    assert verify.names_as_patterns(names) == patterns


def test_only_a_folder_leads_to_a_name():
    """The pattern of what leads there ends in a slash: a file of that name is none of it."""
    patterns = verify.names_as_patterns([b"a/b"])
    assert not any(fnmatch.fnmatch(b"/a", one) for one in patterns)
