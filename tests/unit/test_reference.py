"""``lab.reference``: a page from docstrings, and one sentence where there can be none."""

import pathlib
import textwrap

import pytest

from lab import reference

pytestmark = pytest.mark.one_release

TREE = pathlib.Path(__file__).resolve().parents[2]

MODULE = '''
"""
What a pair is.

.. code-block:: bash

    salt salt1 pair.report salt
"""
from failback import plan as plans

__virtualname__ = "pair"
__func_alias__ = {"names_": "names"}
LIMIT = 20


def __virtual__():
    return __virtualname__


def report(pair=None, *, limit=LIMIT, operation=plans.RECOVER, **more):
    """
    Report what is true of :py:func:`pair.names` and ``a|b``.

    pair
        Name of the pair;
        two lines.

    limit, operation
        As they are.

    Returns a dict with ``<run>`` in it. Raises ``CommandExecutionError`` when not.

    CLI Example:

    .. code-block:: bash

        salt salt1 pair.report salt
    """


def names_():
    """List the pairs."""


def _hidden():
    pass


second = names_
'''

STATE = '''
"""The steps."""


def opened(name, pair=None, winner=None, reason=None):
    """
    Look at both nodes.

    name
        What this step is.

    pair
        Name of the pair.

    winner
        The node whose data count.
    """


def closed(name):
    """Close the run."""
'''

ORCHESTRATION = """\
{#-
  Bring a pair home.

      salt-run state.orch orch.recover pillar='{pair: salt}'

  Run it anywhere.
-#}
{%- set pair = pillar.get('pair') %}

# A comment.
Both nodes answer:
  pair_run.opened:
    - pair: {{ given(pair) }}
    - winner: {{ given(pillar.get('winner')) }}

The run is closed:
  pair_run.closed:
    - order: last
"""


@pytest.fixture
def tree(tmp_path):
    """A small tree; write a file of it with ``tree("salt/…", text)``, which returns the tree."""

    def write(path, text):
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(textwrap.dedent(text))
        return tmp_path

    write("salt/_modules/pair.py", MODULE)
    write("salt/_states/pair_run.py", STATE)
    write("salt/_utils/failback/plan.py", 'RECOVER = "recover"\n')
    write("salt/orch/recover.sls", ORCHESTRATION)
    write("docs/other.md", "")
    return write


def test_a_function_is_shown_with_all_that_its_docstring_says(tree):
    text = reference.page(tree("salt/top.sls", ""))
    section = text.split("#### pair.report\n")[1].split("####")[0]
    assert section == textwrap.dedent(
        """
        ```python
        pair.report(pair=None, *, limit=20, operation='recover', **more)
        ```

        Report what is true of `pair.names` and `a|b`.

        - `pair`: Name of the pair; two lines.
        - `limit`, `operation`: As they are.

        **Returns** a dict with `<run>` in it.

        **Raises** `CommandExecutionError` when not.

        ```bash
        salt salt1 pair.report salt
        ```

        """
    )


def test_names_are_those_under_which_salt_calls_them(tree):
    text = reference.page(tree("salt/top.sls", ""))
    assert "#### pair.names\n" in text
    assert "names_" not in text
    assert "_hidden" not in text
    assert "The same function under another name: `pair.second`." in text


def test_files_of_one_virtual_name_are_one_module(tree):
    root = tree(
        "salt/_modules/more/a_pair_lock.py",
        '"""The lock."""\n__virtualname__ = "pair"\ndef lock(pair):\n    """Lock it."""\n',
    )
    text = reference.page(root)
    assert text.count("### Execution module pair\n") == 1
    # The module's own file first.
    assert text.index("#### pair.report\n") < text.index("#### pair.lock\n")
    assert "\nThe lock.\n" in text


def test_what_load_does_not_list_is_left_out(tree):
    root = tree(
        "salt/_runners/pair.py",
        '"""Runner."""\n__load__ = ["check"]\n'
        'def check():\n    """Check."""\ndef help_of_it():\n    """Not."""\n',
    )
    text = reference.page(root)
    assert "#### salt-run pair.check\n" in text
    assert "help_of_it" not in text


def test_a_pillar_key_means_what_the_state_says_that_gets_it(tree):
    text = reference.page(tree("salt/top.sls", ""))
    assert "| `pair` | Name of the pair. |" in text
    assert "| `winner` | The node whose data count. |" in text
    assert "- Both nodes answer: [`pair_run.opened`](#state-pair_runopened)" in text


def test_a_pillar_key_means_what_the_comment_says_before_all(tree):
    described = ORCHESTRATION.replace("  Run it", "  pair\n      The name, or ``all``.\n\n  Run it")
    text = reference.page(tree("salt/orch/recover.sls", described))
    assert "| `pair` | The name, or `all`. |" in text
    assert "\nRun it anywhere.\n" in text


def test_each_link_of_the_contents_has_its_heading(tree):
    text = reference.page(tree("salt/top.sls", ""))
    headings = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    anchors = [reference._anchor(heading) for heading in headings]
    assert len(anchors) == len(set(anchors))
    for line in text.split("## Contents", 1)[1].split("\n## ", 1)[0].splitlines():
        for target in line.split("](#")[1:]:
            assert target.split(")")[0] in anchors


@pytest.mark.parametrize(
    "path, text, sentence",
    [
        ("salt/_modules/x.py", "def a():\n    pass\n", "salt/_modules/x.py: the file has no docstring."),
        (
            "salt/_modules/x.py",
            '"""X."""\ndef a():\n    pass\n',
            "salt/_modules/x.py:2: a has no docstring.",
        ),
        (
            "salt/_modules/x.py",
            '"""X."""\ndef a(pear):\n    """\n    A.\n\n    pair\n        Name.\n    """\n',
            "salt/_modules/x.py:2: the docstring of a describes pair, which it does not take.",
        ),
        (
            "salt/_modules/x.py",
            '"""X."""\ndef a():\n    """\n    A.\n\n    .. code-block:: bash\n    """\n',
            "salt/_modules/x.py:2: the docstring of a has a code block with nothing in it.",
        ),
        (
            "salt/orch/x.sls",
            "A step:\n  pair_run.closed: []\n",
            "salt/orch/x.sls: the file does not begin with a comment that says what it is for.",
        ),
        (
            "salt/orch/x.sls",
            "{#- X. -#}\nA step:\n  pair_run.opened:\n    - reason: {{ given(pillar.get('reason')) }}\n",
            "salt/orch/x.sls: nothing says what the pillar key reason means.",
        ),
        (
            "salt/orch/x.sls",
            "{#-\n  X.\n\n  fenced\n      The other node.\n-#}\nA step:\n  pair_run.closed: []\n",
            "salt/orch/x.sls: the comment describes the pillar key fenced, which the file does not read.",
        ),
    ],
)
def test_what_cannot_be_used_is_named_in_one_sentence(tree, capsys, path, text, sentence):
    root = tree(path, text)
    with pytest.raises(reference.Wrong) as problem:
        reference.page(root)
    assert str(problem.value) == sentence
    assert reference.main(["--check"], root) == 1
    assert capsys.readouterr().err == f"{sentence}\n"


def test_check_tells_a_missing_a_current_and_an_old_page_apart(tree, capsys):
    root = tree("salt/top.sls", "")
    assert reference.main(["--check"], root) == 1
    assert capsys.readouterr().err == "docs/reference.md is missing; `make reference` writes it.\n"
    assert reference.main([], root) == 0
    assert reference.main(["--check"], root) == 0
    before = (root / "docs/reference.md").read_text()
    tree("salt/_modules/pair.py", MODULE.replace("two lines", "three lines"))
    assert reference.main(["--check"], root) == 1
    assert capsys.readouterr().err == "docs/reference.md is not current; `make reference` writes it anew.\n"
    assert (root / "docs/reference.md").read_text() == before


def test_a_file_that_is_no_python_is_named(tree, capsys):
    assert reference.main(["--check"], tree("salt/_modules/x.py", "def a(:\n")) == 1
    assert "x.py" in capsys.readouterr().err


def test_the_page_of_this_tree_is_current():
    assert (TREE / reference.PAGE).read_text() == reference.page(TREE)


def test_many_parameters_stand_one_on_a_line(tree):
    words = ", ".join(f"parameter_number_{number}=None" for number in range(5))
    text = reference.page(tree("salt/_modules/x.py", f'"""X."""\ndef a({words}):\n    """A."""\n'))
    assert "x.a(\n    parameter_number_0=None,\n" in text
    assert "    parameter_number_4=None,\n)\n" in text
