"""What rsync says, and names made of any bytes."""

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies

from effort import examples
from failback.host import notation
from failback.recovery import itemize

NAMES = strategies.binary(min_size=1, max_size=60).filter(
    lambda name: b"\0" not in name and b"/" not in name and name not in (b".", b"..")
)
# Bytes of which escapes are made, so that what merely looks like one comes up often.
TIME = b"2026/11/22-18:30:00"
TRICKY = strategies.lists(
    strategies.sampled_from([b"\\", b"#", b"\\#", b"0", b"1", b"3", b"7", b"9", b"\n", b"\xff"]),
    min_size=1,
    max_size=12,
).map(b"".join)


def as_rsync_writes(name):
    r"""rsync's rule in the C locale, restated from its log.c: ``\#ooo`` for what is not printable
    ASCII, and for a backslash before ``#`` and three digits."""
    written = b""
    for position, byte in enumerate(name):
        rest = name[position + 1 : position + 5]
        looks_escaped = byte == 0x5C and rest[:1] == b"#" and rest[1:].isdigit() and len(rest) == 4
        if looks_escaped or not 0x20 <= byte < 0x7F:
            written += b"\\#%03o" % byte
        else:
            written += bytes([byte])
    return written


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        (b">f+++++++++ 12 new", ("created", ">f+++++++++", 12, b"new")),
        (b">f.st...... 3 pki/web", ("overwritten", ">f.st......", 3, b"pki/web")),
        (b">f..t...... 3 same size", ("overwritten", ">f..t......", 3, b"same size")),
        (b"*deleting   0 old/", ("deleted", "*deleting", 0, b"old/")),
        (b".d..t...... 4096 ./", ("attributes", ".d..t......", 4096, b"./")),
        (b".f...pog.ax 1 x", ("attributes", ".f...pog.ax", 1, b"x")),
        (b"cL+++++++++ 1 link", ("created", "cL+++++++++", 1, b"link")),
        (b"cLc.t...... 3 link", ("overwritten", "cLc.t......", 3, b"link")),
        (b"cd+++++++++ 4096 a/", ("created", "cd+++++++++", 4096, b"a/")),
        (b"hf+++++++++ 9 two", ("created", "hf+++++++++", 9, b"two")),
        (b"hf..t...... 9 two", ("overwritten", "hf..t......", 9, b"two")),
        (b"cS+++++++++ 0 fifo", ("created", "cS+++++++++", 0, b"fifo")),
        (rb"cD+++++++++ 0 a\#012b", ("created", "cD+++++++++", 0, b"a\nb")),
        (b">f+++++++++ 1  leading", ("created", ">f+++++++++", 1, b" leading")),
        (b">f+++++++++ 1 12 x", ("created", ">f+++++++++", 1, b"12 x")),
    ],
)
def test_lines(line, entry):
    assert itemize.parsed(with_time(line)) == (*entry, TIME)


def test_the_time_of_a_line():
    assert itemize.seconds(itemize.parsed(with_time(b">f..t...... 3 x"))) == 1795372200


def with_time(line):
    """A line with the time of the source's change in its place."""
    code, rest = line[:11], line[12:]
    size, _, name = rest.partition(b" ")
    return b"%s %s %s %s" % (code, size, TIME, name)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"Number of files: 9 (reg: 4, dir: 3, link: 2)",
        b"IO error encountered -- skipping file deletion",
        b"cannot delete non-empty directory: x",
        b"sent 50 bytes  received 230 bytes  560.00 bytes/sec",
        b">f+++++++++ name without a size",
        b">f+++++++++ 5 name without a time",
    ],
)
def test_lines_that_are_no_entries(line):
    assert itemize.parsed(line) is None


@given(NAMES | TRICKY)
def test_every_name_survives_rsyncs_notation(name):
    line = b">f+++++++++ 5 " + TIME + b" " + as_rsync_writes(name)
    assert b"\n" not in line
    assert itemize.parsed(line).name == name


@given(NAMES | TRICKY | strategies.text(min_size=1).map(lambda text: text.encode("utf-8", "replace")))
def test_every_name_survives_our_notation(name):
    text = notation.readable(name)
    assert text.isprintable()
    text.encode("utf-8")
    assert notation.raw(text) == name


@given(strategies.lists(NAMES | TRICKY, min_size=2, max_size=20, unique=True))
def test_no_two_names_read_alike(names):
    assert len({notation.readable(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"plain", "plain"),
        ("Ünïcödé".encode(), "Ünïcödé"),
        (b"a\nb", r"a\#012b"),
        (b"\xff", r"\#377"),
        (rb"\#012", r"\#134#012"),
        (rb"\#400", r"\#400"),
        ("right\u202eleft".encode(), r"right\#342\#200\#256left"),
    ],
)
def test_our_notation(name, text):
    assert notation.readable(name) == text


@settings(max_examples=examples(15))
@given(names=strategies.lists(NAMES | TRICKY, min_size=1, max_size=40, unique=True))
def test_real_rsync_agrees(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("names")
    for name in names:
        with open(os.path.join(os.fsencode(folder), name), "wb"):
            pass
    done = subprocess.run(
        ["rsync", "-an", itemize.FORMAT, f"{folder}/", f"{folder}-elsewhere/"],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        stdout=subprocess.PIPE,
        check=True,
    )
    entries = [itemize.parsed(line) for line in done.stdout.splitlines()]
    found = {entry.name for entry in entries if entry and not entry.name.endswith(b"/")}
    assert found == set(names)


@given(strategies.lists(strategies.tuples(NAMES, strategies.sampled_from(["deleted", "overwritten"]))))
def test_digest_does_not_depend_on_the_order(entries):
    digests = []
    for order in (entries, entries[::-1]):
        digest = itemize.Digest()
        for name, action in order:
            digest.add(name, action)
        digests.append(digest.hexadecimal())
    assert digests[0] == digests[1]
    assert len(digests[0]) == 64


def test_digest_tells_sets_apart():
    def digest(*entries):
        one = itemize.Digest()
        for name, action in entries:
            one.add(name, action)
        return one.hexadecimal()

    assert digest() != digest((b"a", "deleted")) != digest((b"a", "overwritten"))
    assert digest((b"a", "deleted")) != digest((b"a", "deleted"), (b"b", "deleted"))
