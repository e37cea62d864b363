"""The command that a refusal names, as the shell and salt-run read it, is enough for what it refused."""

import shlex

import pytest
import salt.utils.args
from samples import preview as seen

from failback.decisions import limits


def typed(problem):
    """The pillar that the command in a sentence gives, as the shell and salt-run read it."""
    command = problem[problem.index("salt-run state.orch") :]
    *words, pillar = shlex.split(command)
    assert words[:2] == ["salt-run", "state.orch"] and len(words) == 3
    args, kwargs = salt.utils.args.parse_input([pillar], condition=False)
    assert args == []
    return kwargs["pillar"]


@pytest.mark.parametrize("changed", range(21, 400, 7))
def test_what_a_refusal_advises_is_enough(changed):
    previews = [seen(overwritten=changed, deleted=changed, total=997)]
    problems = limits.limit_problems(previews, 0, 1, "salt")
    for problem in problems:
        allowed = {"max_delete": 0, "max_change_percent": 1, **typed(problem)}
        assert allowed.pop("pair") == "salt"
        assert limits.limit_problems(previews, **allowed, pair="salt") == []
        # Clients go on writing while the command is typed.
        later = [seen(overwritten=changed + changed // 5, deleted=changed + changed // 5, total=997)]
        assert limits.limit_problems(later, **allowed, pair="salt") == []


@pytest.mark.parametrize(
    "reason",
    [
        "the clients were on salt2",
        'it\'s the "newer" one',
        "50 % {of} [them], at 3:00 # or so; $(reboot) `x` \\ !",
        "null",
        "007",
        "Öl auf dem Boden \U0001f525",
        "a tab\tand \x85 \u2028 \ufeff a line that YAML would break",
    ],
)
def test_what_a_refusal_advises_has_the_words_of_the_run(reason):
    """After a split the command was refused as it was typed: the winner was left out."""
    overrides = {"winner": "salt2", "reason": reason, "moved": True, "max_change_percent": 60}
    (problem,) = limits.limit_problems([seen(deleted=101)], 100, 60, "salt", "recover", overrides)
    assert typed(problem) == {"pair": "salt", **overrides, "max_delete": 130}
    assert "See which: salt-run pair.plan salt winner=salt2. To allow" in problem
