"""What of rsync's words is an error, and what only a dry run says."""

import pytest

from failback.recovery import rsync


@pytest.mark.parametrize(
    ("code", "only_pretended", "well"),
    [
        (0, True, True),
        (0, False, True),
        (24, False, True),
        (23, True, True),
        (23, False, False),
        (11, True, False),
    ],
)
def test_a_look_that_ended_well(code, only_pretended, well):
    assert rsync.looked_well(rsync.Outcome(code=code, only_pretended=only_pretended)) is well


@pytest.mark.parametrize(
    ("line", "pretended"),
    [
        (b'rsync: [generator] stat "/srv/a/b" failed: Too many levels of symbolic links (40)\n', True),
        (b'rsync: [generator] stat "/srv/a/b" failed: Not a directory (20)\n', True),
        (b"rsync error: some files/attrs were not transferred (see previous errors) (code 23)\n", True),
        (b'rsync: [generator] stat "/srv/a/b" failed: Input/output error (5)\n', False),
        (b'rsync: [sender] readlink "/srv/a" failed: Not a directory (20)\n', False),
        (
            b"rsync: [generator] get_acl: sys_acl_get_file(b, ACL_TYPE_DEFAULT): Permission denied (13)\n",
            False,
        ),
    ],
)
def test_words_of_a_dry_run_alone(line, pretended):
    assert bool(rsync._PRETENDED.match(line)) is pretended
