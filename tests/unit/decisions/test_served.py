"""Which files of a release a master does not serve, as sentences."""

import pytest

from failback.decisions import served

RELEASE = {"orch/boot.sls": "a", "pair/init.sls": "b", "top.sls": "c"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        # Every site may have its own.
        ({"top.sls": "x"}, []),
        ({"top.sls": None}, []),
        ({"orch/boot.sls": "x"}, ["another file than Failback 1.2.3 has for orch/boot.sls (/own/boot.sls)."]),
        ({"pair/init.sls": "x"}, ["for pair/init.sls. It replaces ours silently"]),
        ({"pair/init.sls": None}, ["The master does not serve pair/init.sls, which Failback 1.2.3 has"]),
        (
            {"pair/init.sls": None, "orch/boot.sls": "x"},
            ["for orch/boot.sls", "does not serve pair/init.sls"],
        ),
    ],
)
def test_what_is_served_is_the_release_or_is_named(changed, said):
    found = served.problems("1.2.3", RELEASE, {**RELEASE, **changed}, {"orch/boot.sls": "/own/boot.sls"})
    assert len(found) == len(said)
    for sentence, part in zip(found, said):
        assert part in sentence and "salt-run fileserver.clear_file_list_cache" in sentence


def test_of_many_files_some_are_named_and_the_others_counted():
    release = {f"pair/{number}.sls": "a" for number in range(9)}
    (found,) = served.problems("1.2.3", release, dict.fromkeys(release), {})
    assert "pair/4.sls and 4 more, which" in found and "pair/5.sls" not in found


def test_nothing_to_compare_with_is_nothing_wrong():
    assert served.problems("1.2.3", {}, {}, {}) == []
