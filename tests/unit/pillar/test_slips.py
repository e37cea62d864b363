"""Slips that YAML passes over, or names in the wrong place, are named with their line."""

import pathlib

import pytest

from failback.pillar import slips

SHIPPED = sorted((pathlib.Path(__file__).parents[3] / "pillar").rglob("*.sls"))

#: A line of a pillar file, and words of what is said of it.
TYPICAL = {
    "\tprimary: web1": ["a tab at the beginning", "spaces"],
    "  \tprimary: web1": ["a tab at the beginning"],
    "    mode:manual": ["mode: with nothing between", "a space after the colon of mode"],
    "    primary: {id:web1, host: 10.0.0.1}": ["id: with nothing between"],
    "    primary: {id: web1,host:10.0.0.1}": ["host: with nothing between"],
    "    - path:/srv/www": ["path: with nothing between"],
    "    - {path:/srv/www}": ["path: with nothing between"],
    "    secondary:web2": ["secondary: with nothing between"],
    "      boot_timeout: 0300": ["boot_timeout: 0300, which YAML reads in base eight", "300 without"],
    "    recovery: {max_delete: 010}": ["max_delete: 010, which YAML reads in base eight"],
    "    lsyncd: {delay: 08}": ["delay: 08, which YAML reads in base eight"],
    "      boot_timeout: 5:00": ["boot_timeout: 5:00, which YAML reads in base sixty"],
    "    mode: no": ["mode: no, which YAML reads as true or false"],
    "    mode: Off": ["mode: Off, which YAML reads as true or false"],
    "        watch: {on: off}": ["on: off, which YAML reads as true or false"],
    "      - no": ["no, which YAML reads as true or false"],
    "    vms: [idm, on]": ["on, which YAML reads as true or false"],
    "  no:": ["the key no, which YAML reads as true or false", "another name", '"no"', "no name of a pair"],
    "  yes: {primary: a, secondary: b}": ["the key yes"],
    "    primary:\u00a0web1": ["a space that may not be broken"],
    "\ufeffpairs:": ["a byte order mark"],
    "    mode: \u201cmanual\u201d": ["a typographic quotation mark"],
}

#: Lines that are right, however odd.
RIGHT = [
    "",
    "# a comment: with\ttab, mode:manual and 010",
    "{%- set port = 010 %}",
    "    mode: manual  # not mode:automatic",
    "        address: fd00::5/64",
    "        label: eth0:0",
    "    services: ['sh:0', \"010\", 'no']",
    '    proof: [sh, -c, "curl -f http://10.0.0.1:80/mode:x"]',
    "    witnesses: [{id: client, host: 10.0.0.100}]",
    "      - 10.0.0.1",
    "      reboot: no",
    "    recovery: {reboot: yes, boot_timeout: 300}",
    "        watch: {on: secondary, cron: gateway-ip}",
    "          on: both",
    "      delay: 0",
    "      delay: 0.5",
    "      endpoints: ['https://10.0.0.1:2379']",
    "        - https://10.0.0.1:2379",
    "      description: it's Tom's",
    "  it:  # a pair",
    "    key:\tvalue",
]


@pytest.mark.parametrize("line", TYPICAL)
def test_a_slip_is_named_with_its_line(line):
    text = f"pairs:\n  web:\n{line}\n    secondary: web2\n"
    found = slips.found(text)
    assert [number for number, _, _ in found] == [3], found
    said = slips.sentence("pillar/pairs/web.sls", found[0])
    assert said.startswith("pillar/pairs/web.sls, line 3: found ")
    for words in TYPICAL[line]:
        assert words in said


@pytest.mark.parametrize("line", RIGHT)
def test_what_is_right_is_left_alone(line):
    assert slips.found(line) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_pillar_has_none(path):
    assert slips.found(path.read_text()) == []


def test_nothing_of_a_fence_agents_options_is_printed():
    """A password may look like anything."""
    text = (
        "    fence:\n      nodes:\n        web1:\n          agent: fence_ipmilan\n          options:\n"
        "            password: 0123\n            username: no\n      timeout: 030\n"
        "    fence: {nodes: {web2: {agent: fence_x, options: {password: 0777, username: id:off}}}}\n"
    )
    found = slips.found(text)
    assert [number for number, _, _ in found if number != 8] in ([], [9]), found
    assert not any(word in str(found) for word in ("0123", "0777", "username: no"))
