"""As whom git runs in a repository, and who could choose what it runs."""

import pytest

from failback.decisions import ownership
from failback.decisions.ownership import Entry

ANNA, BEN = 1000, 1001
PLACE = "/srv/git/site.git"


def above(owner, *others, mode=0o755):
    """The way to a repository, each folder root's unless ``others`` says otherwise."""
    found = {path: Entry(path, 0, 0o755) for path in ("/", "/srv", "/srv/git")}
    found.update({one.path: one for one in others})
    return [*found.values(), Entry(PLACE, owner, mode)]


def inside(owner, *others):
    """What is in it, all its owner's."""
    usual = {
        **{name: (0o644, "file") for name in ("HEAD", "config", "packed-refs", "hooks/post-receive")},
        **{name: (0o755, "folder") for name in ("hooks", "info", "objects", "objects/ab", "refs/heads")},
    }
    found = {name: Entry(f"{PLACE}/{name}", owner, *facts) for name, facts in usual.items()}
    found.update({one.path: one for one in others})
    return list(found.values())


def named(name, uid, mode=0o644, kind="file"):
    return Entry(f"{PLACE}/{name}", uid, mode, kind)


@pytest.mark.parametrize("receiving", [True, False])
@pytest.mark.parametrize("owner", [0, ANNA])
def test_a_repository_that_its_owner_alone_writes_to(owner, receiving):
    assert ownership.repository_problem(above(owner), inside(owner), receiving) is None


@pytest.mark.parametrize(
    ("way", "content"),
    [
        ([Entry("/srv/git", ANNA, 0o755)], []),
        ([Entry("/srv/git", ANNA, 0o777, "link")], []),
        # Like /tmp: what is his there, nobody else moves away.
        ([Entry("/srv/git", 0, 0o1777)], []),
        # A repository that several share, with programs of its owner's alone.
        ([], [named("objects/cd", ANNA, 0o2775, "folder"), named("HEAD", ANNA, 0o664)]),
        ([], [named("hooks/post-receive", 0, 0o755)]),
        ([], [named("hooks", ANNA, 0o777, "link")]),
    ],
)
def test_what_a_user_may_have_as_he_likes(way, content):
    assert ownership.repository_problem(above(ANNA, *way), inside(ANNA, *content), False) is None


@pytest.mark.parametrize(
    ("owner", "way", "content", "mode", "found"),
    [
        (0, [Entry("/srv/git", ANNA, 0o755)], [], 0o755, "/srv/git on the way to it belongs to uid 1000"),
        (0, [Entry("/srv", 0, 0o775)], [], 0o755, "others may write to /srv on the way to it (mode 0775)"),
        (0, [Entry("/srv", ANNA, 0o777, "link")], [], 0o755, "/srv on the way to it belongs to uid 1000"),
        (0, [], [], 0o775, f"others may write to {PLACE} (mode 0775)"),
        (0, [], [], 0o757, f"others may write to {PLACE} (mode 0757)"),
        (0, [], [], 0o1777, f"others may write to {PLACE} (mode 1777)"),
        (0, [], [named("hooks/pre-push", ANNA)], 0o755, "hooks/pre-push belongs to uid 1000"),
        (0, [], [named("hooks", ANNA, 0o777, "link")], 0o755, "hooks belongs to uid 1000"),
        (0, [], [named("objects/ab", ANNA, 0o755, "folder")], 0o755, "objects/ab belongs to uid 1000"),
        (0, [], [named("config", 0, 0o664)], 0o755, "config (mode 0664)"),
        (0, [], [named("packed-refs", 0, 0o666)], 0o755, "packed-refs (mode 0666)"),
        (ANNA, [Entry("/srv/git", BEN, 0o755)], [], 0o755, "/srv/git on the way to it belongs to uid 1001"),
        (ANNA, [Entry("/srv/git", 0, 0o777)], [], 0o755, "others may write to /srv/git on the way"),
        (ANNA, [], [], 0o2775, f"others may write to {PLACE} (mode 2775)"),
        (ANNA, [], [named("config", BEN)], 0o755, "config belongs to uid 1001"),
        (ANNA, [], [named("config.worktree", ANNA, 0o666)], 0o755, "config.worktree (mode 0666)"),
        (ANNA, [], [named("commondir", BEN)], 0o755, "commondir belongs to uid 1001"),
        (ANNA, [], [named("hooks/post-receive", ANNA, 0o775)], 0o755, "hooks/post-receive (mode 0775)"),
    ],
)
def test_what_somebody_else_could_steer_is_named_with_the_danger_and_the_way_out(
    owner, way, content, mode, found
):
    problem = ownership.repository_problem(above(owner, *way, mode=mode), inside(owner, *content), False)
    said, danger, command = problem
    assert found in said and f"as uid {owner}" in danger and command.startswith(("chown ", "chmod "))


def test_folders_that_root_has_left_in_it_are_named_before_something_is_to_be_written():
    """An earlier release received as root."""
    left = inside(ANNA, named("objects/ab", 0, 0o755, "folder"))
    assert ownership.repository_problem(above(ANNA), left, receiving=False) is None
    said, _, command = ownership.repository_problem(above(ANNA), left, receiving=True)
    assert "objects/ab in it belongs to uid 0" in said and command == f"chown -Rh 1000: {PLACE}"
