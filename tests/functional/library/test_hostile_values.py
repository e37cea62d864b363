"""
Values of the pillar that a shell, an option parser or a template would take for something else.

Each is either refused by the pillar's check, or arrives where it is used as the very text that it is. For git
see test_git_push.py, for lsyncd's configuration test_lsyncd_config.py, in tests/unit/replication.
"""

import json
import os
import sys

import pytest
import trees

from failback import peer_requests
from failback.errors import Refused
from failback.guests import storage
from failback.host import services
from failback.pillar import check
from failback.pillar import normalise
from failback.recovery import pull
from failback.replication import replicated

MARK = "was-here"
HOSTILE = {
    "a space": "a b",
    "spaces around": " a ",
    "a single quote": "a'b",
    "a double quote": 'a"b',
    "both quotes": "a'\"b",
    "a command": f"a$(touch {MARK})",
    "backticks": f"a`touch {MARK}`",
    "a semicolon": f"a;touch {MARK}",
    "an ampersand": f"a&touch {MARK}",
    "a pipe": f"a|touch {MARK}",
    "a redirection": f"a>{MARK}",
    "a variable": "a$HOME",
    "a short option": "-rf",
    "a long option": "--delete",
    "a backslash": "a\\b",
    "a percent sign": "a%hb",
    "a template": "a{{ 7*7 }}b",
    "a template's tag": "a{% raw %}b",
    "a comment": "a #b",
    "a wildcard": "a*b",
    "a class": "a[b]c",
    "Lua's end": "a]]b",
    "YAML": "a: [b",
    "no ASCII": "ünï",
    "another direction": "a\u202eb",
    "a line break": "a\nb",
    "a carriage return": "a\rb",
    "a tab": "a\tb",
    "a zero byte": "a\0b",
    "dots": "..",
    "a way up": "../../etc",
    "nothing": "",
}
BASE = {"primary": "salt1", "secondary": "salt2"}
ADDRESS = {"address": "10.0.0.5/24", "interface": "eth0"}
#: Where a value can stand. True: any text that one can print is allowed there, and has to arrive.
FIELDS = {
    "primary.id": (False, lambda value: {**BASE, "primary": {"id": value}}),
    "primary.host": (False, lambda value: {**BASE, "primary": {"id": "salt1", "host": value}}),
    "floating_ips.<name>": (False, lambda value: {**BASE, "floating_ips": {value: ADDRESS}}),
    "address": (False, lambda value: {**BASE, "floating_ips": {"gw": {**ADDRESS, "address": value}}}),
    "interface": (False, lambda value: {**BASE, "floating_ips": {"gw": {**ADDRESS, "interface": value}}}),
    "label": (False, lambda value: {**BASE, "floating_ips": {"gw": {**ADDRESS, "label": value}}}),
    "cron": (False, lambda value: {**BASE, "floating_ips": {"gw": {**ADDRESS, "watch": {"cron": value}}}}),
    "watch.reachable": (
        False,
        lambda value: {**BASE, "floating_ips": {"gw": ADDRESS}, "watch": {"reachable": [value]}},
    ),
    "witnesses": (False, lambda value: {**BASE, "witnesses": [value]}),
    "then": (False, lambda value: {**BASE, "replicate": [{"path": "/srv/a", "then": value}]}),
    "services": (False, lambda value: {**BASE, "services": [value]}),
    "active_services": (False, lambda value: {**BASE, "active_services": [{"name": value}]}),
    "vms": (False, lambda value: {**BASE, "vms": [value]}),
    "virtualization.prefix": (
        False,
        lambda value: {**BASE, "vms": ["idm"], "virtualization": {"prefix": value}},
    ),
    "after": (False, lambda value: {**BASE, "after": [value]}),
    "replicate": (True, lambda value: {**BASE, "replicate": [f"/srv/{value}"]}),
    "git": (True, lambda value: {**BASE, "git": [f"/srv/{value}"]}),
    "proof": (True, lambda value: {**BASE, "services": [{"name": "a", "proof": ["/bin/true", value]}]}),
    "status": (True, lambda value: {**BASE, "services": [{"name": "a", "status": ["/bin/true", value]}]}),
}
FIELDS["virtualization.storage"] = (
    True,
    lambda value: {**BASE, "vms": ["idm"], "virtualization": {"storage": f"/srv/{value}"}},
)
#: Those that may stand in a path or in a word of a command.
PRINTABLE = {
    name: value for name, value in HOSTILE.items() if value.isprintable() and value not in ("", "..")
}
IN_A_FOLDER = {
    name: value for name, value in PRINTABLE.items() if not set(value) & set("*[/") and value.strip() == value
}


@pytest.mark.parametrize("field", [name for name, (free, _) in FIELDS.items() if not free])
@pytest.mark.parametrize("name", HOSTILE)
def test_where_a_name_is_wanted_nothing_else_is_taken(field, name):
    _, made = FIELDS[field]
    if field == "label" and name == "nothing":
        pytest.skip("an empty label is no label")
    if field == "virtualization.prefix" and name == "nothing":
        pytest.skip("libvirt's names of the guests may be the plain ones")
    found = check.problems({"salt": made(HOSTILE[name])})
    assert found, f"{field} takes {HOSTILE[name]!r}"
    for one in found:
        assert check.sentence(one).isprintable()


@pytest.mark.parametrize("name", HOSTILE)
def test_no_such_name_of_a_pair_is_taken(name):
    assert check.problems({HOSTILE[name]: BASE})


@pytest.mark.parametrize("field", [name for name, (free, _) in FIELDS.items() if free])
@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in PRINTABLE])
def test_where_text_is_free_it_is_still_a_line_of_text(field, name):
    _, made = FIELDS[field]
    if HOSTILE[name] == ".." and field in ("proof", "status"):
        pytest.skip("a word of a command may be two dots")
    if HOSTILE[name] == "" and field in ("replicate", "git", "virtualization.storage", "proof", "status"):
        pytest.skip("/srv/ is a folder, and an empty word a word")
    assert check.problems({"salt": made(HOSTILE[name])})


@pytest.mark.parametrize("field", ["proof", "status"])
@pytest.mark.parametrize("name", PRINTABLE)
def test_a_word_of_a_command_arrives_as_it_is(field, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    heard = tmp_path / "heard"
    program = tmp_path / "program"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\nopen({str(heard)!r}, 'w').write(json.dumps(sys.argv[1:]))\n"
    )
    program.chmod(0o755)
    _, made = FIELDS[field]
    assert not check.problems({"salt": made(HOSTILE[name])})
    service = {"name": "a", "proof": None, "status": None, field: [str(program), HOSTILE[name], "end"]}
    if field == "proof":
        services._prove("a (services)", service, "salt1")
    else:
        assert services._truth(service)[0] == "active"
    assert json.loads(heard.read_text()) == [HOSTILE[name], "end"]
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("name", PRINTABLE)
def test_on_a_storage_of_that_name_the_locks_lie_where_they_should(name):
    value = PRINTABLE[name]
    pair = FIELDS["virtualization.storage"][1](value)
    if '"' in value or ".." in value:
        # libvirt's configuration knows no way to write a quote in a text.
        assert check.problems({"salt": pair})
        return
    assert not check.problems({"salt": pair})
    last = storage.lock_config(normalise.normalise("salt", pair)).splitlines()[-1]
    assert last == f'file_lockspace_dir = "/srv/{value}/{storage.LOCKSPACE}"'


@pytest.mark.parametrize("name", IN_A_FOLDER)
def test_a_folder_of_that_name_is_carried_with_its_backup(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = f"/srv/{IN_A_FOLDER[name]}"
    assert not check.problems({"salt": FIELDS["replicate"][1](IN_A_FOLDER[name])})
    nodes = trees.Nodes(tmp_path)
    trees.make(nodes.there / path[1:], {"file": "new", IN_A_FOLDER[name]: "1"})
    trees.make(nodes.here / path[1:], {"file": "old", "gone": "1"})
    item = nodes.item(path)
    pull.Pull([item], nodes.peer([item]), tmp_path / "run").sync()
    assert trees.fingerprint(nodes.here / path[1:]) == trees.fingerprint(nodes.there / path[1:])
    kept = tmp_path / "run/backup" / item.module / "001"
    assert sorted(os.listdir(kept)) == ["file", "gone"]
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("name", PRINTABLE)
def test_a_pattern_of_that_name_matches_what_it_says(name, tmp_path):
    """The last component may hold wildcards; all else in it stands for itself."""
    value = PRINTABLE[name]
    if "/" in value or set(value) & set("*[") or value.strip() != value:
        pytest.skip("a folder, or a pattern by intention")
    matches = replicated.matching(replicated.item(f"/srv/{value}-*", False))
    assert matches(f"{value}-1")
    assert not matches("a-1") or value == "a"
    assert not matches(f"x{value}-1")


@pytest.mark.parametrize("name", HOSTILE)
def test_the_far_end_takes_none_for_a_verb(name):
    value = HOSTILE[name]
    for command in (value, f"report {value}", f"yield {value}", f"report;{value}"):
        if command.strip() == "report":
            continue
        with pytest.raises(Refused):
            peer_requests.parse(command)
