"""Where a source is made wrong, which of it a run tries, and how it finds the tests."""

import json
import sqlite3

import pytest

from lab.mutants import covering
from lab.mutants import sample
from lab.mutants import sites

pytestmark = pytest.mark.one_release


def mutants(source):
    return [site.applied(source) for site in sites.of(source) if site.is_valid(source)]


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("x = a < b\n", ["x = a <= b\n"]),
        ("x = a not in b\n", ["x = a in b\n"]),
        ("x = a is None\n", ["x = a is not None\n"]),
        ("x = a and b\n", ["x = a or b\n"]),
        ("x = not a\n", ["x = bool(a)\n"]),
        ("x = a + 1\n", ["x = a - 1\n", "x = a + (1 + 1)\n"]),
        ("x = True\n", ["x = False\n"]),
        ("x += y\n", ["x -= y\n"]),
        ("x = a if b else c\n", ["x = a if (not (b)) else c\n"]),
        ("if a:\n    x\n", ["if (not (a)):\n    x\n"]),
        ("if a == b:\n    x\n", ["if a != b:\n    x\n"]),
        ("while a:\n    break\n", ["while (not (a)):\n    break\n", "while a:\n    continue\n"]),
        ("f(a)\n", ["pass\n"]),
        ("raise a\n", ["pass\n"]),
        ("def f():\n    return a\n", ["def f():\n    return None\n"]),
        ("with lock(a):\n    x\n", [f"with {sites.NO_CONTEXT}:\n    x\n"]),
        ("try:\n    x\nexcept E:\n    y = z\n", ["try:\n    x\nexcept E:\n    raise\n"]),
        ("try:\n    x\nexcept E:\n    raise\n", ["try:\n    x\nexcept E:\n    pass\n"]),
        ("x = [a for a in b if a]\n", ["x = [a for a in b if (not (a))]\n"]),
    ],
)
def test_what_is_made_wrong(source, wrong):
    assert mutants(source) == wrong


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""\n',
        "x = 'text'\n",
        "x = f'{a + 1} of {b}'\n",
        "x = 'a' + b\n",
        "log.warning(a)\n",
        "def f():\n    return None\n",
        "with open(a) as b:\n    x\n",
        "x: typing.Optional[3]\n",
    ],
)
def test_what_is_left_as_it_is(source):
    assert mutants(source) == []


def test_a_mutant_knows_its_lines_and_its_function():
    source = "class A:\n    def f(self):\n        if (a and\n                b):\n            g()\n"
    found = {site.applied(source): site for site in sites.of(source)}
    both = found[source.replace("and", "or")]
    assert (both.line, both.last, both.function) == (3, 4, "A.f")
    (call,) = [site for site in found.values() if site.new == "pass"]
    assert (call.line, call.last) == (5, 5)


def test_text_beyond_ascii_moves_nothing():
    source = 'x = "ä…ö" if a == b else "€"  # ü\n'
    assert source.replace("==", "!=") in mutants(source)


def test_it_is_described_in_one_line():
    source = "def f():\n    held = a == b  # why\n"
    (site,) = sites.of(source)
    assert site.described(source) == "held = a ⟦==⟧ b # why → !="


SOURCES = {
    "salt/_utils/failback/decisions/plan.py": "x = a < b\ny = c < d\n",
    "salt/_utils/failback/state/lock.py": "f()\ng()\n",
    "salt/_states/pair.py": "x = not a\n",
}


def test_the_same_seed_draws_the_same():
    one, again = (sample.draw(SOURCES, 3, 7) for _ in range(2))
    assert one == again and len(one) == 3
    assert {tuple(sample.draw(SOURCES, 3, seed)) for seed in range(20)} != {tuple(one)}
    assert len(sample.draw(SOURCES, None, 1)) == len(sample.draw(SOURCES, 99, 1)) == 5


def test_what_changes_nothing_is_not_drawn():
    (first, *_) = sample.draw(SOURCES, None, 1)
    left = sample.draw(SOURCES, None, 1, {first.key: "why"})
    assert len(left) == 4 and first not in left


def test_the_list_of_what_changes_nothing():
    text = "# a comment\n\na.py | f | x ⟦<⟧ y → <=\n    It is never\n    the same.\n"
    assert sample.equivalent(text) == {("a.py", "f", "x ⟦<⟧ y → <="): "It is never the same."}
    for wrong in (
        "a.py | f | x\n",
        "a.py | f | x\nb.py | f | y\n    why\n",
        "    why\n",
        "a.py f x\n    why\n",
    ):
        with pytest.raises(ValueError):
            sample.equivalent(wrong)


def test_each_mutant_in_the_list_exists(tree):
    """One whose line has changed has to be judged anew."""
    listed = sample.equivalent((tree / "lab/mutants/equivalent.txt").read_text())
    for path, function, described in listed:
        source = (tree / "salt" / path).read_text()
        known = {(site.function or "module", site.described(source)) for site in sites.of(source)}
        assert (function, described) in known, described


def test_rates_and_what_survived():
    drawn = sample.draw(SOURCES, None, 1)
    pure = next(one for one in drawn if "decisions" in one.path)
    state = next(one for one in drawn if "lock" in one.path)
    outcomes = [
        (pure, sample.KILLED),
        (pure, sample.TOO_LONG),
        (state, sample.SURVIVED),
        (state, sample.UNSEEN),
    ]
    lines = "\n".join(sample.table(outcomes))
    assert sample.kind(pure.path) == "pure" and "2 of    2 killed (100.0%), goal 98%" in lines
    assert sample.kind(state.path) == "I/O" and "0 of    2 killed (  0.0%), goal 92%" in lines
    assert [line.partition(":")[0] for line in sample.survivors(outcomes)] == [
        "survived",
        "no test executes it",
    ]
    assert not sample.good_enough(outcomes) and sample.good_enough(outcomes[:2])


# --- which tests execute a line --------------------------------------------------------------------------


def bits(*numbers):
    data = bytearray(max(numbers) // 8 + 1)
    for number in numbers:
        data[number // 8] |= 1 << number % 8
    return bytes(data)


def test_lines_are_read_as_coverage_writes_them():
    assert covering.lines(bits(1, 8, 9, 30)) == [1, 8, 9, 30]


@pytest.fixture
def found(tmp_path):
    """Two files; line 1 is executed by their import."""
    for suite in covering.SUITES:
        (tmp_path / suite).mkdir()
        database = sqlite3.connect(tmp_path / suite / "coverage")
        database.executescript(
            "create table file (id integer, path text); create table context (id integer, context text);"
            "create table line_bits (file_id integer, context_id integer, numbits blob);"
        )
        database.executemany(
            "insert into file values (?, ?)",
            [(1, "/x/salt/_utils/a.py"), (2, "/x/salt/_utils/more_a.py"), (3, "/t/extmods/modules/m.py")],
        )
        names = ["", "t/slow.py::one", "t/fast.py::two", "t/fast.py::fails"]
        database.executemany("insert into context values (?, ?)", enumerate(names))
        rows = [(1, 0, bits(1)), (1, 1, bits(4, 5)), (1, 2, bits(5)), (1, 3, bits(5)), (2, 1, bits(7))]
        database.executemany("insert into line_bits values (?, ?, ?)", [*rows, (3, 2, bits(2))])
        database.commit()
        database.close()
        tests = {
            name: {"seconds": 9.0 if "slow" in name else 1.0, "passed": "fails" not in name}
            for name in names
            if name
        }
        (tmp_path / suite / "tests.json").write_text(json.dumps(tests))
    return covering.Covering(tmp_path)


@pytest.mark.parametrize(
    ("path", "line", "last", "at_load", "tests"),
    [
        ("salt/_utils/a.py", 4, 4, False, ["t/slow.py::one"]),
        ("salt/_utils/a.py", 5, 5, False, ["t/fast.py::two", "t/slow.py::one"]),
        ("salt/_utils/a.py", 2, 4, False, ["t/slow.py::one"]),
        ("salt/_utils/a.py", 6, 9, False, []),
        # When it is loaded: whatever executes anything of the module, whoever had it loaded.
        ("salt/_utils/a.py", 1, 1, True, ["t/fast.py::two", "t/slow.py::one"]),
        ("salt/_utils/a.py", 4, 4, True, ["t/fast.py::two", "t/slow.py::one"]),
        ("salt/_utils/a.py", 6, 9, True, []),
        ("salt/_modules/m.py", 2, 2, False, ["t/fast.py::two"]),
        ("salt/_utils/none.py", 1, 1, True, []),
    ],
)
def test_which_tests_execute_a_mutant(found, path, line, last, at_load, tests):
    site = sites.Site(0, 1, "", line, last, "f", at_load)
    assert found.executing("unit", path, site) == tests
    assert found.seconds("unit", tests) == sum(9.0 if "slow" in one else 1.0 for one in tests)


def test_a_test_that_fails_as_the_tree_is_shows_nothing(found):
    assert found.failed() == ["t/fast.py::fails"] * len(covering.SUITES)


def test_files_that_are_done_soon_come_first_each_as_a_whole():
    seconds = {"a.py::1": 5.0, "b.py::1": 1.0, "a.py::2": 0.1, "b.py::2": 2.0}
    assert covering.in_order(seconds) == ["b.py::1", "b.py::2", "a.py::2", "a.py::1"]


def test_the_content_of_the_tree_decides_and_bytecode_does_not(tmp_path):
    for place in covering.CONTENT:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("") if "." in place else (tmp_path / place).mkdir(exist_ok=True)
    before = covering.content(tmp_path)
    (tmp_path / "salt/__pycache__").mkdir()
    (tmp_path / "salt/__pycache__/a.pyc").write_text("1")
    assert covering.content(tmp_path) == before
    (tmp_path / "salt/a.py").write_text("1")
    assert covering.content(tmp_path) != before


def test_what_runs_when_a_module_is_loaded_is_known():
    source = (
        "LIMIT = 5\n"
        "class A:\n"
        "    SIZE = 6\n"
        "    def f(self, a=7):\n"
        "        return 8\n"
        "def g(b=9):\n"
        "    def h(c=10):\n"
        "        return c\n"
    )
    found = {one.new: one.at_load for one in sites.of(source) if one.new.endswith("+ 1)")}
    assert found == {
        "(5 + 1)": True,
        "(6 + 1)": True,
        "(7 + 1)": True,
        "(8 + 1)": False,
        "(9 + 1)": True,
        "(10 + 1)": False,
    }
