"""The files of the pillar on a master: their pairs, their lines, and what Jinja and YAML cannot read."""

import pytest
import salt.utils.args
import salt.utils.yaml

from failback.pillar import check
from failback_master import pillar_files

TEXT = """\
# a comment
pairs:
  web:
    primary: {id: web1, host: 10.0.0.81}
    secondary: web2
    floating_ips:
      web-gw:
        address: 10.0.0.7/24
    replicate:
      - /srv/a
      - path: /srv/b
  mail: {primary: mx1, secondary: mx2}
"""


@pytest.fixture
def opts(tmp_path):
    """``opts(files)``: a master's, with these files below its one root."""

    def made(files):
        for name, text in files.items():
            place = tmp_path / "pillar" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(text if isinstance(text, bytes) else text.encode())
        return {"pillar_roots": {"base": [str(tmp_path / "pillar"), str(tmp_path / "absent")]}}

    return made


@pytest.mark.parametrize(
    "key, line",
    [
        ("", 3),
        ("primary", 4),
        ("primary.host", 4),
        ("floating_ips.web-gw.address", 8),
        ("replicate.1", 11),
        ("replicate.1.path", 11),
        ("replicate.7", 9),
        ("recovery.max_delete", 3),
    ],
)
def test_a_key_has_its_line_and_one_that_is_missing_that_of_what_is_around_it(opts, key, line):
    (found,) = pillar_files.read(opts({"pairs/web.sls": TEXT}))
    assert (found.name, found.stem, found.pairs) == ("pillar/pairs/web.sls", "web", ["web", "mail"])
    assert found.line("web", key) == line
    assert found.line("mail", "primary") == 12
    assert found.line("nobody", "primary") is None


def test_only_files_that_speak_of_pairs_are_read(opts):
    files = {
        "top.sls": "pairs:\n",
        "users.sls": "users: {a: b}\n",
        "site/web.sls": "pairs: {x: {}}\n",
        "pairs/empty.sls": "",
        "pairs/binary.sls": b"\xff\xfe\x00",
        "pairs/note.txt": "pairs: {y: {}}\n",
    }
    found = pillar_files.read(opts(files))
    assert [one.name for one in found] == ["pillar/pairs/empty.sls", "pillar/site/web.sls"]


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("pairs:\n  web: {primary: a\n", 3, "wrong YAML ("),
        ("pairs:\n  web:\n    mode: a\n    mode: b\n", 4, "conflicting ID 'mode'"),
        ("pairs:\n  web: [\n  x: }\n", 3, "wrong YAML ("),
        ("pairs:\n{% if x %}\n", 2, "wrong Jinja ("),
        ("pairs:\n\n  web: {{ }}\n", 3, "wrong Jinja ("),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(opts, text, line, words):
    (said,) = pillar_files.broken(pillar_files.read(opts({"pairs/web.sls": text})))
    assert said.startswith(f"pillar/pairs/web.sls, line {line}: found ") and words in said


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "",
        "{% set a = [] %}{% do a.append(1) %}\npairs: {{ a | json }}\n",
        "{%- load_yaml as x %}{%- endload %}\n",
    ],
    ids=["YAML", "empty", "Jinja", "Salt's Jinja"],
)
def test_what_can_be_read_is_not_named(opts, text):
    assert pillar_files.broken(pillar_files.read(opts({"pairs/web.sls": text}))) == []


@pytest.mark.parametrize(
    "name", ["web", "2024-01-02", "12-30", "1a", "0xg", "y", "2024", "1_000", "0x1F", "no", "None"]
)
def test_what_the_check_takes_for_a_name_is_text_to_salt_and_nothing_else_is(name):
    read = [salt.utils.yaml.safe_load(name), salt.utils.args.yamlify_arg(name)]
    read.append(salt.utils.args.parse_input([f"pair={name}"], condition=False)[1].get("pair"))
    assert (check.name_wanted(name) is None) == (read == [name] * 3), read


def test_the_list_is_that_of_each_root_as_it_is_written(opts):
    """What it does not list it may still name, in a comment."""
    found = pillar_files.top(opts({"top.sls": "# web web1 web2\nbase: {}\n"}))
    assert found == "# web web1 web2\nbase: {}\n\n"
    assert pillar_files.top({}) == pillar_files.top({"pillar_roots": None}) == ""


def test_the_slips_of_a_file_are_said_with_its_name(opts):
    files = pillar_files.read(opts({"pairs/web.sls": "pairs:\n  web:\n\tmode: manual\n", "pairs/mx.sls": ""}))
    (said,) = pillar_files.slips_of(files)
    assert said.startswith("pillar/pairs/web.sls, line 3: found a tab")


def test_a_file_that_is_too_large_is_none_of_a_pair(opts):
    most = pillar_files.MOST_BYTES
    files = {"pairs/a.sls": "#" * (most + 1), "pairs/b.sls": "#" * most}
    assert [one.stem for one in pillar_files.read(opts(files))] == ["b"]


@pytest.mark.parametrize("text", ["pairs: {web: \x01}\n", "a: \ud7ff\ufffe\n"], ids=ascii)
def test_what_yaml_does_not_read_at_all_is_named_in_the_first_line(opts, text):
    """A sign that it does not allow has no line for it."""
    (said,) = pillar_files.broken(pillar_files.read(opts({"pairs/web.sls": text})))
    assert said.startswith("pillar/pairs/web.sls, line 1: found wrong YAML (") and "\n" not in said
    assert "characters are not allowed" in said


@pytest.mark.parametrize(
    "text",
    ["- pairs\n", "pairs: text\n", "pairs:\n  ? [a, b]\n  : {x: y}\n", "users: {web: {}}\npairs: {}\n"],
)
def test_what_has_no_pairs_by_name_has_no_lines_of_them(text):
    assert pillar_files.lines(text) == {}


def test_a_list_within_a_list_has_its_lines():
    found = pillar_files.lines("pairs:\n  web:\n    proof:\n      - - a\n        - b\n")
    assert found[("web", "proof.0.1")] == 5 and found[("web", "")] == 2
