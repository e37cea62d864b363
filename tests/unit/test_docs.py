"""What README and docs/ say exists, exists: commands, keys, steps, verdicts, links."""

import ast
import functools
import json
import pathlib
import re
import shlex

import pytest
import samples
import yaml

from failback import cli
from failback import peer_requests
from failback.decisions import given
from failback.decisions import plan
from failback.decisions import verdict
from failback.handover import phases
from failback.host import paths
from failback.pillar import schema
from failback.state import ledger
from lab import sites

pytestmark = pytest.mark.one_release

TREE = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*TREE.glob("*.md"), *(TREE / "docs").glob("*.md")])
#: Written by programs; the words in them are those of the programs.
GENERATED = ("reference.md", "benchmarks.md", "faults-results.md")
TEXTS = {path.name: path.read_text() for path in DOCUMENTS}
each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
each_written_by_hand = pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if path.name not in GENERATED], ids=lambda path: path.name
)

LIBRARY = TREE / "salt/_utils/failback"
#: A function that the runner has for one more release, under its former name.
FORMER = "hold"


def commands(text):
    """Everything shown as something to type or to call: code blocks line by line, and inline code."""
    code = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            code = not code
        elif code or line.startswith("    "):
            yield line.strip()
        else:
            # A bar inside a table's code would be another cell.
            yield from re.findall(r"`([^`]+)`", line)


def said(pattern):
    """What a pattern's group finds in the commands of all documents, with where: ``[(name, found)]``."""
    return sorted(
        {
            (name, found)
            for name, text in TEXTS.items()
            for command in commands(text)
            for found in re.findall(pattern, command)
        }
    )


def rows(name, heading):
    """The tables in a section of a document, until the next heading: lists of cells without the heads."""
    section = re.split(r"^#+ ", TEXTS[name].split(f"\n{heading}\n", 1)[1], flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    heads = {number - 1 for number, line in enumerate(lines) if set(line) <= set("|- ")}
    kept = [line for number, line in enumerate(lines) if number not in heads and set(line) - set("|- ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in kept]


def public_functions(path):
    """Names under which Salt calls what a module of the tree defines, with their arguments."""
    return {
        node.name.rstrip("_"): {one.arg for one in [*node.args.args, *node.args.kwonlyargs]}
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }


def by_virtual_name(folder):
    """The files of each module: those with one ``__virtualname__`` are one to Salt."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        name = re.search(r'^__virtualname__ = "(\w+)"', path.read_text(), flags=re.MULTILINE)
        found.setdefault(name.group(1) if name else path.stem, []).append(path)
    return found


def keys_of_schema(part=None, prefix=""):
    """Every key of a pair with its default as JSON, or None: ``floating_ips.<name>.address``."""
    part = schema.SCHEMA["$defs"]["pair"] if part is None else part
    found = {}
    for branch in [part, *part.get("anyOf", [])]:
        for key, inner in branch.get("properties", {}).items():
            name = f"{prefix}.{key}" if prefix else key
            found[name] = json.dumps(inner["default"]) if "default" in inner else None
            found.update(keys_of_schema(inner, name))
        if isinstance(branch.get("additionalProperties"), dict):
            found.update(keys_of_schema(branch["additionalProperties"], f"{prefix}.<name>"))
        if isinstance(branch.get("items"), dict):
            found.update(keys_of_schema(branch["items"], f"{prefix}[]"))
    return found


RUNNER = {
    key: value
    for file in sorted((TREE / "salt/_runners").glob("*.py"))
    for key, value in public_functions(file).items()
}
STATES = {path.stem: public_functions(path) for path in (TREE / "salt/_states").glob("*.py")}
MODULES = {
    name: {key: value for file in files for key, value in public_functions(file).items()}
    for name, files in by_virtual_name(TREE / "salt/_modules").items()
}


def test_there_is_something_to_check():
    """Else every test here could pass because a pattern has gone stale."""
    assert len(said(r"\bmake ([a-z-]+)")) > 10
    assert len(said(r"salt-run pair\.([a-z_]+)")) > 10
    assert len(said(r"\borch\.([a-z_]+)")) > 5


@pytest.mark.parametrize("name, target", said(r"(?:^|[\s(])make ([a-z][a-z-]*)"))
def test_each_target_of_make_exists(name, target):
    targets = re.findall(r"^([a-z-]+):", (TREE / "Makefile").read_text(), flags=re.MULTILINE)
    assert target in targets, f"{name} names `make {target}`"


def test_each_target_of_make_is_explained():
    targets = set(re.findall(r"^([a-z-]+):.*##", (TREE / "Makefile").read_text(), flags=re.MULTILINE))
    explained = {re.match(r"`make ([a-z-]+)", row[0]).group(1) for row in rows("lab.md", "## make")}
    assert explained == targets


@pytest.mark.parametrize("name, place", said(r"(?:\bONLY=|pytest -q )(tests/\S+)"))
def test_each_test_that_is_shown_exists(name, place):
    path, _, function = place.partition("::")
    assert (TREE / path).exists(), f"{name} names {path}"
    assert not function or f"def {function}(" in (TREE / path).read_text(), f"{name} names {place}"


@pytest.mark.parametrize("name, function", said(r"\bsalt-run (?:-d )?pair\.([a-z_]+)"))
def test_each_runner_function_exists(name, function):
    assert function in RUNNER, f"{name} names `salt-run pair.{function}`"


def test_each_runner_function_is_explained():
    shown = {function for name, function in said(r"\bsalt-run pair\.([a-z_]+)") if name == "operations.md"}
    assert shown == set(RUNNER) - {FORMER}


@pytest.mark.parametrize("name, orchestration", said(r"\borch\.([a-z_]+)"))
def test_each_orchestration_exists(name, orchestration):
    assert (TREE / f"salt/orch/{orchestration}.sls").is_file(), f"{name} names orch.{orchestration}"


@pytest.mark.parametrize(
    "name, command",
    [one for one in said(r"(salt-run pair\.[a-z_]+[^|]*)") if "<" not in one[1] and "[" not in one[1]],
)
def test_each_argument_of_a_runner_function_exists(name, command):
    words = shlex.split(command, comments=True)
    function = words[1].partition(".")[2]
    keys = {word.partition("=")[0] for word in words[2:] if re.match(r"[a-z_]+=", word)}
    assert keys <= RUNNER[function], f"{name}: {command}"


def test_each_orchestration_is_known_to_the_runner():
    assert set(given.ORCHESTRATIONS) == {f"orch.{path.stem}" for path in (TREE / "salt/orch").glob("*.sls")}


@pytest.mark.parametrize("name, command", said(r"state\.orch (orch\.[a-z]+ pillar='\{[^}]*\}')"))
def test_each_argument_of_an_orchestration_exists(name, command):
    orchestration, _, pillar = command.partition(" pillar='")
    keys = yaml.safe_load(pillar.removesuffix("'"))
    assert set(keys) <= given.ORCHESTRATIONS[orchestration], f"{name}: {command}"


def called_functions():
    """``(document, module, function)`` for `salt <node> module.function` and for bare `module.function`."""
    names = "|".join(MODULES)
    # Ends of file names, such as lsyncd.service, and Salt's own.
    files = {"service", "conf", "sls", "py", "json", "schema", "seen", "mounted", "failed", "marker"}
    for name, text in TEXTS.items():
        for command in commands(text):
            if command.startswith("salt-run"):
                continue
            for module, function in re.findall(rf"(?:^|\s)({names})\.([a-z_]+)\b(?!/)", command):
                # Some keys of the pillar look alike: lsyncd.delay.
                key = f"{module}.{function}" in keys_of_schema()
                states = (TREE / "salt" / module / f"{function}.sls").exists()
                if not (key or states or function in files):
                    yield name, module, function


@pytest.mark.parametrize("name, module, function", sorted(set(called_functions())))
def test_each_module_function_exists(name, module, function):
    # In prose `pair.status` is short for the runner's.
    known = set(MODULES[module]) | set(STATES.get(module, ())) | (set(RUNNER) if module == "pair" else set())
    assert function in known, f"{name} names {module}.{function}"


@pytest.mark.parametrize("name, words", said(r"^failback ([a-z].*)"))
def test_each_command_of_the_program_exists(name, words):
    words = [word.strip("<>") for word in words.split()]
    assert cli.parser().parse_args(words).command in cli.COMMANDS, f"{name}: failback {' '.join(words)}"


@pytest.mark.parametrize("name, command", said(r"python3 -m lab(?: --lab \S+)? ([a-z-]+)"))
def test_each_command_of_the_lab_exists(name, command):
    source = (TREE / "lab/cli.py").read_text()
    assert f'"{command}"' in source, f"{name}: python3 -m lab {command}"


def test_each_setting_of_the_lab_is_read():
    sources = "".join(path.read_text() for path in [TREE / "Makefile", *(TREE / "lab").glob("*.py")])
    sources += "".join(path.read_text() for path in (TREE / "tests/lab").rglob("*.py"))
    for row in rows("lab.md", "## Settings"):
        assert row[0].strip("`") in sources, row[0]


def test_each_host_of_the_lab_is_explained():
    site = sites.SITES["salt"]
    shown = {row[0]: row[1] for row in rows("lab.md", "## The site `salt`")}
    wanted = {machine.name: site.address(machine) for machine in site.machines}
    wanted["salt-gw"] = site.master_address
    assert shown == wanted


# --- the pillar --------------------------------------------------------------------------------


def keys_of_document():
    lines = TEXTS["pillar.md"].split("## Every key", 1)[1].splitlines()
    cells = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("| `")]
    return {cell[1].strip("`"): None if cell[3] == "–" else cell[3].strip("`") for cell in cells}


def test_the_keys_of_the_pillar_are_those_of_the_schema():
    assert set(keys_of_document()) == set(keys_of_schema())


def test_the_defaults_of_the_pillar_are_those_of_the_schema():
    assert keys_of_document() == keys_of_schema()


def test_the_published_schema_is_the_one_of_the_code():
    assert (TREE / "docs/pair.schema.json").read_text() == schema.text()


@each_document
def test_examples_of_pairs_are_right(path):
    yaml = pytest.importorskip("yaml")
    from failback.pillar import check

    for block in re.findall(r"^```yaml\n(.*?)^```", path.read_text(), flags=re.MULTILINE | re.DOTALL):
        if "pairs:\n" in block and "{%" not in block:
            assert check.problems(yaml.safe_load(block)["pairs"]) == []


# --- the protocol ------------------------------------------------------------------------------


def test_each_verdict_is_explained():
    wanted = set(verdict.ALL)
    shown = {
        document: {word for row in rows(document, heading) for word in re.findall(r"`([a-z_-]+)`", row[0])}
        for document, heading in (("protocol.md", "## The verdict"), ("operations.md", "### status"))
    }
    assert shown["protocol.md"] == wanted
    assert wanted <= shown["operations.md"]


def test_each_verdict_has_its_steps():
    shown = {re.match(r"`([a-z_-]+)`", row[0]) for row in rows("protocol.md", "### Which steps a run takes")}
    # "all others" are refused by every orchestration.
    others = {verdict.UNKNOWN, verdict.SECONDARY_DOWN}
    assert {one.group(1) for one in shown if one} == set(verdict.ALL) - others


#: What a row of the table of steps is about: facts of the verdict beside its name.
ROWS = {
    "`normal`, no drift": {"name": verdict.NORMAL, "active": "salt1"},
    "`normal`, drift": {"name": verdict.NORMAL, "active": "salt1", "drift": ("lsyncd does not run.",)},
    "`failed_over`": {"name": verdict.FAILED_OVER, "active": "salt2"},
    "`standby_returned`": {"name": verdict.STANDBY_RETURNED, "active": "salt1"},
    "`standby_returned`, with something unsaved": {
        "name": verdict.STANDBY_RETURNED,
        "active": "salt1",
        "unsaved": True,
    },
    "`standby_returned` or `normal`, not yet compared": {
        "name": verdict.NORMAL,
        "active": "salt1",
        "uncompared": "20261122T183000-recover-salt-4f2a",
    },
    "`primary_returned`": {"name": verdict.PRIMARY_RETURNED},
    "`cold`": {"name": verdict.COLD, "newest": "salt2"},
    "`split-brain`": {"name": verdict.SPLIT},
    "`primary_down`": {"name": verdict.PRIMARY_DOWN},
    "all others": {"name": verdict.SECONDARY_DOWN},
}
STEPS_OF_A_RUN = rows("protocol.md", "### Which steps a run takes")


@pytest.mark.parametrize(
    "row, operation, cell",
    [
        (cells[0], operation, cell)
        for cells in STEPS_OF_A_RUN
        for operation, cell in zip((plan.RECOVER, plan.FAILOVER, plan.BOOT), cells[1:])
    ],
)
def test_each_run_takes_the_steps_that_are_shown(row, operation, cell):
    facts = {"sentence": "It is so.", "generation": 4, **ROWS[row]}
    config = samples.pair(git=["/srv/git/site.git"])
    made = plan.decide(operation, config, verdict.Verdict(**facts))
    shown = cell.split(";")[0]
    if shown.startswith("refused"):
        assert made.refusal
        also = re.search(r"run (\w+)", shown)
        assert not also or f"orch.{also.group(1)} " in made.refusal
    elif shown == "nothing to do":
        assert made.nothing_to_do
    elif not shown.startswith("as "):
        assert ", ".join(made.steps) == shown


def test_each_step_is_explained_in_its_order():
    steps = plan.STEPS
    shown = [(row[0].strip("`"), row[1]) for row in rows("protocol.md", "## The recovery")]
    assert shown == list(steps.items())


def test_the_handover_is_as_explained():
    table = rows("protocol.md", "## The handover")
    named = [row[0].strip("`") for row in table if len(row) == 3 and row[0].startswith("`")]
    states = [phase for phase in named if not phase.startswith("recovery.")]
    assert states == [
        phases.ARMED,
        phases.RELEASED,
        phases.COMMITTED,
        phases.DONE,
        phases.TAKEN_BACK,
    ]
    limits = {row[0]: row[1] for row in table if len(row) == 3}
    assert limits["commit margin"] == f"{phases.COMMIT_MARGIN:g} s"
    assert limits["take within"] == f"{phases.TAKE_WITHIN:g} s"
    assert limits["final sync"] == f"timeout − {phases.COMMIT_MARGIN + 1:g} s"
    assert limits["`recovery.handover_timeout`"] == f"{schema.defaults('recovery')['handover_timeout']:g} s"


def test_each_peer_request_is_explained():
    shown = [row[0].strip("`") for row in rows("protocol.md", "## What the other node may ask for")]
    for asked in shown:
        assert peer_requests.parse(
            asked.replace("<generation>", "7")
            .replace("<repository>", "/srv/git/site.git")
            .replace("<run>", samples.RUN)
        )
    # Where the verbs are listed for who reads the code.
    known = re.findall(r"^``(.+?)`` ", peer_requests.__doc__, flags=re.MULTILINE)
    assert sorted(shown) == sorted(known)


def test_each_part_of_highstate_is_explained():
    shown = {row[0].strip("`") for row in rows("data.md", "## What highstate does")}
    there = {f"pair/{path.name}" for path in (TREE / "salt/pair").glob("*.sls")}
    assert shown == there - {"pair/init.sls"}


def test_each_file_of_a_pair_is_explained():
    shown = " ".join(row[0] for row in rows("data.md", "## Overview"))
    places = paths.Paths()
    for place in (places.ledger, places.lock, places.pause, places.fenced):
        assert place("salt").name in shown
    told = TEXTS["data.md"]
    for name in ("seen.json", "handover.json", "git.json", "sources.json", "peer.json", "last-pass.json"):
        assert name in told, name


def test_each_key_of_a_ledger_is_explained():
    shown = {key for row in rows("data.md", "## ledger.json") for key in re.findall(r"`(\w+)`", row[0])}
    written = ledger.Entry(
        1, "salt1", "run", "why", unsaved=True, unsynced=True, heard=True, withdrawn=True, in_step=1.0
    ).content()
    assert shown == {*written} - {"version"}


# --- messages ------------------------------------------------------------------------------------

#: Words of the system, and a sentence that has nothing but names in it.
NOT_OURS = ("No space left", "Input/output error", "salt: work on salt2: started.")


def sentences():
    """Every text in the sources, one a line; ``\0`` stands for what is filled in."""
    found = [(TREE / "salt/pair/files/failback").read_text()]
    for path in sorted((TREE / "salt").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (one.value if isinstance(one, ast.Constant) else "\0" for one in node.values)
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


SENTENCES = sentences()


def quoted():
    """``(document, message, part of it)``: what the tables of refusals quote, without the names in it."""
    for name, text in TEXTS.items():
        if "\n## Refusals\n" not in text or name in GENERATED:
            continue
        section = re.split(r"^## ", text.split("\n## Refusals\n", 1)[1], flags=re.MULTILINE)[0]
        for line in section.splitlines():
            cell = re.split(r"(?<!\\)\|", line)[1] if line.startswith("| ") else ""
            for message in re.findall(r"`([^`]+)`", cell):
                for part in re.split(r"…|\bsalt[12]\b|\b2 s\b|\b25\b", message):
                    if len(part.strip(" ,.;:")) > 3 and not message.startswith(NOT_OURS):
                        yield name, message, part.strip(" ,.;:")


@pytest.mark.parametrize("name, message, part", sorted(set(quoted())))
def test_each_quoted_message_can_be_said(name, message, part):
    """One word of it may be filled in."""
    words = part.split(" ")
    filled = (" ".join([*words[:one], "\0", *words[one + 1 :]]) for one in range(len(words)))
    said = part in SENTENCES or (len(words) > 1 and any(one in SENTENCES for one in filled))
    assert said, f"{name} quotes `{message}`, but nothing in salt/ says `{part}`."


# --- words ---------------------------------------------------------------------------------------


def prose(text):
    """A page without its code: neither blocks nor inline."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    text = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
    return re.sub(r"`[^`]*`", "", text)


def paragraphs(text):
    """The paragraphs and the entries of lists, without tables, headings and code."""
    block = []
    for line in [*re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL).splitlines(), ""]:
        entry = re.match(r"\s*([-*]|\d+\.) ", line)
        if not line.strip() or line.startswith(("|", "#", "    ")) or entry:
            if block:
                yield " ".join(block)
            block = [line] if entry else []
        else:
            block.append(line)


@each_written_by_hand
def test_no_paragraph_is_long(path):
    for paragraph in paragraphs(path.read_text()):
        assert len(paragraph.split()) <= 80, f"{path.name}: {paragraph[:70]}"


def test_the_glossary_is_in_order_and_has_each_term_once():
    terms = [row[0] for row in rows("glossary.md", "## Terms")]
    order = [re.sub(r"[^a-z]", "", term.split(",")[0].lower()) for term in terms]
    assert order == sorted(order)
    assert len(order) == len(set(order))
    assert set(verdict.ALL) <= {one for term in terms for one in term.split(", ")}


@each_written_by_hand
def test_a_page_uses_the_terms_of_the_glossary(path):
    if path.name == "glossary.md":
        return
    former = r"far end|near end|warm pass|last pass|g[ai]ves? way|giving way|far-end"
    found = re.findall(former, prose(path.read_text()).replace("\n", " "))
    assert not found, f"{path.name}: see glossary.md for {', '.join(sorted(set(found)))}"


# --- links and files ---------------------------------------------------------------------------


@functools.cache
def anchors(text):
    """The anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_each_internal_link_resolves(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        place, _, anchor = target.partition("#")
        linked = (path.parent / place).resolve() if place else path
        assert linked.exists(), f"{path.name}: {target}"
        if anchor:
            assert anchor in anchors(linked.read_text()), f"{path.name}: {target}"


@each_document
def test_each_named_file_of_the_tree_exists(path):
    pattern = r"^(?:salt|pillar|lab|tests|docs|pair|orch)/[\w./-]+\w/?$"
    for command in commands(path.read_text()):
        if re.match(pattern, command):
            places = [folder / command for folder in (TREE, TREE / "salt", LIBRARY)]
            assert any(place.exists() for place in places), f"{path.name}: {command}"


def test_the_wings_are_as_explained():
    table = rows("architecture.md", "## The wings")
    shown = [row[0].strip("`").rstrip("/") for row in table if row[0].endswith("/`")]
    there = {path.name for path in LIBRARY.iterdir() if (path / "__init__.py").is_file()}
    named = {one for one in shown if "/" not in one}
    assert named == there
    for name in re.findall(r"`((?:[a-z_]+)/(?:[a-z_]+)(?:\.py)?)`", TEXTS["architecture.md"]):
        if name.split("/")[0] in named:
            place = LIBRARY / name
            assert place.exists() or place.with_suffix(".py").exists(), name


@each_document
def test_nothing_names_a_place_that_only_the_author_has(path):
    assert not re.search(r"/work/|/tmp/|/home/", path.read_text())
