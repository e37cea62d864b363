"""The rendered configuration, read by the real Lua and judged against rsync's own matching."""

import os
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from effort import examples
from failback.errors import FailbackError
from failback.host.paths import Paths
from failback.pair import Member
from failback.replication import lsyncd_config
from failback.replication import replicated

# Debian's lsyncd depends on it, so it is where lsyncd is.
LUA = shutil.which("lua5.3") or shutil.which("lua")
needs_lua = pytest.mark.skipif(not LUA, reason="lua5.3 comes with lsyncd")

HOSTILE = [
    "plain",
    "with \"quotes\" and 'more'",
    "back\\slash\\",
    "two\nlines\r\n",
    "]] --[[ ]=]",
    "$(touch /tmp/x) `id` ${HOME}",
    "tab\tbell\a",
    "Grüße 日本",
    os.fsdecode(b"\xff\xfe not UTF-8"),
    "\\065 \\x41 %d %s",
    "{braces} {{more}}",
    "",
]


def member_of(root, **changes):
    pair = {
        "name": "salt",
        "primary": {"id": "salt1", "host": "10.0.0.11"},
        "secondary": {"id": "salt2", "host": "10.0.0.12"},
        "lsyncd": {"delay": 1, "max_processes": 2},
    }
    return Member.of({**pair, **changes}, Paths(root))


def run_lua(program, *arguments):
    done = subprocess.run(
        [LUA, "-", *arguments], input=os.fsencode(program), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@needs_lua
@pytest.mark.parametrize("text", HOSTILE)
def test_lua_reads_back_what_was_quoted(text):
    assert run_lua(f"io.write({lsyncd_config.quote(text)})") == os.fsencode(text)


@needs_lua
@settings(max_examples=examples(60))
@given(st.lists(st.binary(max_size=30).map(lambda data: os.fsdecode(data.replace(b"\0", b"0"))), max_size=20))
def test_lua_reads_back_any_bytes(texts):
    quoted = ", ".join(lsyncd_config.quote(text) for text in texts)
    expected = b"".join(os.fsencode(text) + b"\0" for text in texts)
    assert run_lua(f'for _, text in ipairs({{ {quoted} }}) do io.write(text, "\\0") end') == expected


def test_a_nul_character_is_refused():
    with pytest.raises(FailbackError, match="NUL"):
        lsyncd_config.quote("a\0b")


def test_the_quoted_text_stays_on_one_line_of_ascii():
    quoted = lsyncd_config.quote("".join(HOSTILE))
    assert quoted.isascii() and quoted.isprintable()


@pytest.mark.parametrize(
    "pattern, watched",
    [
        ("hosts--warewulf", "+ /hosts--warewulf"),
        ("shared-*", "+ /shared-*"),
        ("disk-[0-9]", "+ /disk-?"),
        ("[!a]*", "+ /?*"),
        ("a[]b]c", "+ /a?c"),
        ("[[:alpha:]]x", "+ /?x"),
        (r"a\*[b]", "+ /a*?"),
    ],
)
def test_lsyncd_watches_at_least_what_the_pattern_matches(pattern, watched):
    item = replicated.Item("/etc/" + pattern, "/etc", pattern)
    assert lsyncd_config.watch_rules(item) == [watched, "- /*"]


def test_a_folder_is_watched_whole():
    assert lsyncd_config.watch_rules(replicated.item("/srv/salt", is_directory=True)) == []


def test_a_bracket_that_is_never_closed_is_refused():
    with pytest.raises(FailbackError, match="never closed"):
        lsyncd_config.lua_pattern("shared-[a")


# name, pattern, does rsync(1) match?
MATCHES = [
    ("shared-a", "shared-*", True),
    ("shared-", "shared-*", True),
    ("xshared-a", "shared-*", False),
    ("disk-7", "disk-[0-9]", True),
    ("disk-a", "disk-[0-9]", False),
    ("disk-77", "disk-[0-9]", False),
    ("b", "[!a]", True),
    ("a", "[^a]", False),
    ("]", "[]]", True),
    ("-", "[a-]", True),
    ("A1", "[[:upper:]][[:digit:]]", True),
    ("a1", "[[:upper:]][[:digit:]]", False),
    ("100%", "100%", True),
    ("a.b", "a?b", True),
    ("axb", "a.b", False),
    ("file (1)+$", "file (1)+$", True),
    ("a*b", r"a[*]b", True),
    ("axb", r"a[*]b", False),
    ("back\\slash", "back\\slash", True),
    ("back\\slash*", "back[\\\\]slash[*]", True),
]


@needs_lua
@pytest.mark.parametrize("name, pattern, expected", MATCHES)
def test_the_lua_pattern_matches_as_rsync_does(name, pattern, expected, tmp_path):
    found = run_lua(
        f"io.write(tostring(string.find({lsyncd_config.quote(name)}, "
        f"{lsyncd_config.quote(lsyncd_config.lua_pattern(pattern))}) ~= nil))"
    )
    assert found == (b"true" if expected else b"false")
    assert rsync_matches([name], pattern, tmp_path) == ([name] if expected else [])


def rsync_matches(names, pattern, folder):
    source, target = folder / "source", folder / "target"
    source.mkdir()
    for name in names:
        (source / name).touch()
    subprocess.run(
        ["rsync", "-r", f"--include=/{pattern}", "--exclude=*", f"{source}/", f"{target}/"],
        check=True,
    )
    return sorted(path.name for path in target.iterdir())


@needs_lua
@settings(max_examples=examples(25))
@given(
    pattern=st.text("ab*?[]!^-\\.%", min_size=1, max_size=8),
    names=st.lists(st.text("ab[]!^-\\.%*?", min_size=1, max_size=5), min_size=1, max_size=20, unique=True),
)
def test_any_pattern_means_the_same_to_lua_and_to_rsync(pattern, names, tmp_path_factory):
    names = [name for name in names if name not in (".", "..")]
    if pattern in (".", "..") or "**" in pattern:
        return
    try:
        lua = lsyncd_config.lua_pattern(pattern)
    except FailbackError:
        return
    quoted = ", ".join(lsyncd_config.quote(name) for name in names)
    found = run_lua(
        f"for _, name in ipairs({{ {quoted} }}) do "
        f'if string.find(name, {lsyncd_config.quote(lua)}) then io.write(name, "\\0") end end'
    )
    assert sorted(os.fsdecode(found).split("\0")[:-1]) == rsync_matches(
        names, pattern, tmp_path_factory.mktemp("rsync")
    )


# Stands in for lsyncd: collects what the configuration asks for and prints it.
STUB = r"""
asked = {}
default = { rsync = { } }
function settings(given) asked.settings = given end
function now() return 0 end
function alarm(...) end
function sync(given) asked[#asked + 1] = given end
"""


@needs_lua
@pytest.mark.parametrize("text", [text for text in HOSTILE if text and "\n" not in text and "\t" not in text])
def test_hostile_names_reach_lsyncd_as_they_are(text, tmp_path):
    items = [
        replicated.Item(f"/srv/{text}", f"/srv/{text}"),
        replicated.Item(f"/etc/{text}", "/etc", "x"),
    ]
    program = lsyncd_config.render(member_of(tmp_path / "a node's root"), items)
    found = run_lua(f'{STUB}{program}\nio.write(asked[1].source, "\\0", asked[1].target, "\\0", #asked)')
    source, target, count = found.split(b"\0")
    assert source == os.fsencode(f"{tmp_path}/a node's root/srv/{text}/")
    assert target == os.fsencode(f"10.0.0.12::{items[0].module}/")
    assert count == b"3"


@needs_lua
def test_the_options_are_those_of_every_rsync_between_the_nodes(tmp_path):
    items = [replicated.item("/etc/hosts", is_directory=False)]
    program = lsyncd_config.render(member_of(tmp_path), items)
    found = run_lua(f'{STUB}{program}\nio.write(table.concat(asked[1].rsync._extra, "\\0"))')
    options = os.fsdecode(found).split("\0")
    assert options[: len(replicated.CARRYING)] == list(replicated.CARRYING)
    assert "--ignore-errors" not in program
    assert "--delete-excluded" not in program


@needs_lua
def test_a_partial_transfer_and_a_killed_rsync_are_tried_again(tmp_path):
    items = [replicated.item("/srv/salt", is_directory=True)]
    program = lsyncd_config.render(member_of(tmp_path), items)
    codes = (23, 24, 0, 1, 2, 12, 128 + 9, 128 + 15, 255)
    wanted = " .. ' ' .. ".join(f"asked[1].exitcodes[{code}]" for code in codes)
    found = run_lua(f"{STUB}{program}\nio.write({wanted})")
    assert found.decode().split() == [
        "again",
        "ok",
        "ok",
        "die",
        "again",
        "again",
        "again",
        "again",
        "again",
    ]


def test_an_ipv6_host_stands_in_brackets(tmp_path):
    member = member_of(tmp_path, secondary={"id": "salt2", "host": "fd00::12"})
    text = lsyncd_config.render(member, [replicated.item("/srv/salt", is_directory=True)])
    assert '"[fd00::12]::srv-salt-' in text


def test_the_same_input_gives_the_same_text(tmp_path):
    items = [replicated.item("/srv/salt", is_directory=True)]
    first, second = (lsyncd_config.render(member_of(tmp_path), items) for _ in range(2))
    assert first == second
    assert first.startswith(lsyncd_config.MARK)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("*lone\\", "ends with a lone backslash: it matches nothing"),
        ("[ü]", "holds a character that is not ASCII; rsync matches single bytes"),
        ("[a-ü]", "holds a character that is not ASCII"),
        ("[[:word:]]", "there is no class [:word:]"),
        ("[a", "a '[' that is never closed"),
    ],
)
def test_a_pattern_that_lua_cannot_match_as_rsync_does_is_refused(tmp_path, pattern, words):
    member = member_of(tmp_path)
    item = replicated.Item(f"/etc/qemu/{pattern}", "/etc/qemu", pattern)
    with pytest.raises(FailbackError) as refused:
        lsyncd_config.render(member, [item])
    assert words in str(refused.value)


@pytest.mark.parametrize("value", ["1", None, True, [1], "os.exit()"])
@pytest.mark.parametrize("key", ["delay", "max_processes"])
def test_what_is_no_number_does_not_come_into_the_program(tmp_path, key, value):
    """It would be Lua, and run as root."""
    member = member_of(tmp_path, lsyncd={"delay": 0.22, "max_processes": 2, key: value})
    with pytest.raises(FailbackError, match="lsyncd wants a number here and not .*: correct the pillar"):
        lsyncd_config.render(member, [replicated.item("/srv/salt", is_directory=True)])
