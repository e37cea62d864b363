"""The shared key of two masters under the names of both, as highstate of the pair of the masters keeps it."""

import json
import pathlib
import stat

import pytest
import salt.state

FOLDER = "/etc/salt/pki/master"
OLD = "-----BEGIN RSA PRIVATE KEY-----\nold secret\n"
NEW = "-----BEGIN RSA PRIVATE KEY-----\nnew secret\n"


@pytest.fixture(scope="module")
def minion_opts(minion_opts):
    pair = {"primary": "salt1", "secondary": "salt2", "replicate": [FOLDER]}
    minion_opts["pillar"] = {"pairs": {"salt": pair}}
    # A state run asks for the pillar again.
    minion_opts["pillar_roots"] = {"base": []}
    # As some sites have it.
    minion_opts["backup_mode"] = "minion"
    return minion_opts


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "master.pem").write_text(OLD)
    (tmp_path / "master.pem").chmod(0o400)
    (tmp_path / "master.pub").write_text("old public\n")
    return tmp_path


@pytest.fixture
def apply(minion_opts, folder):
    """Apply the SLS, with a folder of ours for the master's; returns what each state said, by its file."""

    def call(test=False):
        opts = {**minion_opts, "test": test}
        high = salt.state.HighState(opts, pillar_override=opts["pillar"])
        data, errors = high.render_highstate({"base": ["pair.master_keys"]})
        assert errors == []
        # Whether this machine has a master makes no difference.
        data = json.loads(json.dumps(data).replace(FOLDER, str(folder)))
        said = high.state.call_high(data)
        assert len(said) == 4, said
        return {pathlib.Path(one["name"]).name: one for one in said.values()}

    return call


def modes(folder):
    return {one.name: stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()}


def test_a_shared_key_that_was_replaced_is_replaced_under_both_names(apply, folder, minion_opts):
    for secret, public in ((OLD, "old public\n"), (NEW, "new public\n")):
        for name, text in (("master.pem", secret), ("master.pub", public)):
            (folder / name).unlink()
            (folder / name).write_text(text)
        (folder / "master.pem").chmod(0o400)
        for test in (True, False):
            said = apply(test)
            assert {one["result"] for one in said.values()} == {None if test else True}, said
            assert all(one["changes"] for one in said.values()), said
            assert "secret" not in str(said)
        for node in ("salt1", "salt2"):
            assert (folder / f"{node}.pem").read_text() == secret
            assert (folder / f"{node}.pub").read_text() == public
            assert (modes(folder)[f"{node}.pem"], modes(folder)[f"{node}.pub"]) == (0o400, 0o644)
        for test in (True, False):
            again = apply(test)
            assert all((one["result"], one["changes"]) == (True, {}) for one in again.values()), again
    # What Salt keeps of the former one is for root alone, and of the new one it keeps nothing.
    kept = [one for one in pathlib.Path(minion_opts["cachedir"]).rglob("*") if one.is_file()]
    keys = [one for one in kept if b"secret" in one.read_bytes()]
    assert keys and {one.parent.name for one in keys if b"new secret" in one.read_bytes()} == set()
    assert {stat.S_IMODE(one.stat().st_mode) for one in keys} == {0o400}


@pytest.mark.parametrize("newest", [False, True], ids=["a file", "a link, as Salt 3008 makes it"])
def test_the_name_that_a_master_has_of_itself_stays_what_it_is(apply, folder, newest):
    if newest:
        for kind in ("pem", "pub"):
            (folder / f"master.{kind}").rename(folder / f"salt1.{kind}")
            (folder / f"master.{kind}").symlink_to(f"salt1.{kind}")
    said = apply()
    assert all(one["result"] for one in said.values())
    assert (folder / "master.pem").is_symlink() == newest
    assert {(folder / f"{node}.pem").read_text() for node in ("salt1", "salt2", "master")} == {OLD}
