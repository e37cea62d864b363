"""Our validator, which needs no library, says what the jsonschema library says."""

import copy
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from effort import examples
from failback.pillar import schema
from failback.pillar import validate

SOUND = {
    "primary": {"id": "salt1", "host": "10.0.0.11"},
    "secondary": "salt2",
    "mode": "manual",
    "floating_ips": {
        "salt-gw": {
            "address": "10.0.0.5/24",
            "interface": "eth0",
            "label": "eth0:0",
            "watch": {"on": "both", "cron": "gateway-ip-public"},
        }
    },
    "replicate": ["/srv/salt", {"path": "/etc/libvirt/qemu/shared-*", "then": "libvirtd"}],
    "git": ["/srv/git/site.git"],
    "services": ["salt-master", {"name": "slurmctld", "proof": ["scontrol", "ping"]}],
    "active_services": [],
    "vms": ["idm"],
    "after": ["mgmt"],
    "witnesses": ["client"],
    "watch": {"interval": 0.5, "patience": 2, "reachable": ["10.0.0.254"]},
    "lsyncd": {"delay": 0.22, "max_processes": 2},
    "recovery": {"reboot": False, "boot_timeout": 300, "max_change_percent": 12.5},
}

VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 5000),
        st.floats(-5, 5000),
        st.text("ab/-:. 0\n", max_size=20),
        st.sampled_from(["manual", "both", "salt1", "/srv/x", "eth0", "-x", "a" * 16]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["id", "host", "name", "path", "proof", "then", "on", "x"]),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)


def places(value, path=()):
    """Every place in a value, as a path of keys."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def altered(value, path, new):
    value = copy.deepcopy(value)
    if not path:
        return new
    target = value
    for key in path[:-1]:
        target = target[key]
    if new is ...:
        del target[path[-1]]
    else:
        target[path[-1]] = new
    return value


CHANGES = st.lists(
    st.tuples(st.sampled_from(sorted(places(SOUND), key=repr)), st.one_of(VALUES, st.just(...))),
    min_size=1,
    max_size=3,
)


def library():
    found = getattr(pytest.importorskip("jsonschema"), "Draft202012Validator", None)
    return found or pytest.skip("this jsonschema is older than the schema's dialect, 2020-12")


def test_the_schema_is_a_schema():
    library().check_schema(schema.SCHEMA)


def test_a_sound_pair_has_no_violations():
    assert list(validate.violations(SOUND)) == []
    assert library()(schema.SCHEMA).is_valid({"pairs": {"salt": SOUND}})


@settings(max_examples=examples(400))
@given(CHANGES)
def test_the_same_verdict_as_the_library(changes):
    value = SOUND
    for path, new in changes:
        try:
            value = altered(value, path, new)
        except (KeyError, IndexError, TypeError):
            continue
    expected = library()(schema.SCHEMA).is_valid({"pairs": {"salt": value}})
    assert (list(validate.violations(value)) == []) is expected


@settings(max_examples=examples(200))
@given(
    st.one_of(
        VALUES,
        st.dictionaries(st.sampled_from(["salt", "-x", "", "a b", "salt.x"]), st.just(SOUND)),
    )
)
def test_the_same_verdict_on_whole_files(pairs):
    whole = {"pairs": pairs}
    expected = library()(schema.SCHEMA).is_valid(whole)
    assert (list(validate.violations(whole, schema.SCHEMA)) == []) is expected


@settings(max_examples=examples(200))
@given(CHANGES)
def test_the_places_that_the_library_names_are_named(changes):
    value = SOUND
    for path, new in changes:
        try:
            value = altered(value, path, new)
        except (KeyError, IndexError, TypeError):
            continue
    tops = {
        str(error.absolute_path[2]) if len(error.absolute_path) > 2 else None
        for error in library()(schema.SCHEMA).iter_errors({"pairs": {"salt": value}})
    }
    ours = {path[0] for path, *_ in validate.violations(value) if path}
    assert tops - {None} <= ours


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True])
def test_what_json_has_no_number_for_is_no_number(value):
    found = list(validate.violations({**SOUND, "watch": {"interval": value}}))
    assert [path for path, *_ in found] == [("watch", "interval")]


def test_every_keyword_of_the_schema_is_known_to_our_validator():
    known = {
        "$schema", "$defs", "$ref", "title", "description", "default", "type", "required",
        "properties",
        "additionalProperties", "propertyNames", "items", "anyOf", "enum", "pattern", "minLength",
        "maxLength",
        "minItems", "minimum", "maximum",
    }  # fmt: skip

    def keywords(part):
        for key, value in part.items():
            yield key
            if key in ("properties", "$defs"):
                for inner in value.values():
                    yield from keywords(inner)
            elif key in ("items", "additionalProperties", "propertyNames") and isinstance(value, dict):
                yield from keywords(value)
            elif key == "anyOf":
                for inner in value:
                    yield from keywords(inner)

    assert set(keywords(schema.SCHEMA)) <= known


def test_the_published_file_is_this_schema(tree):
    assert (tree / "docs" / "pair.schema.json").read_text(encoding="utf-8") == schema.text()


def test_the_module_prints_it(tree):
    printed = subprocess.run(
        [sys.executable, "-m", "failback.pillar.schema"],
        cwd=tree / "salt" / "_utils",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert json.loads(printed) == schema.SCHEMA


def test_every_default_fits_its_own_schema():
    smallest = {"primary": "a", "secondary": "b"}
    for key, inner in schema.SCHEMA["$defs"]["pair"]["properties"].items():
        if "default" in inner:
            assert list(validate.violations({**smallest, key: inner["default"]})) == []
    for group in ("watch", "lsyncd", "recovery"):
        assert list(validate.violations({**smallest, group: schema.defaults(group)})) == []
