"""The other node's key in a file of authorized keys: root's, or an account's, in whose home root writes."""

import os
import stat

import pytest

from failback.peer import key_file

pytestmark = pytest.mark.needs("root")

LINES = "restrict ssh-ed25519 AAAA salt2\nrestrict ssh-ed25519 BBBB web2"
#: Nobody's on the machine.
UID = 54321
SECRET = "root:$6$secret"


class Home:
    """The home of an account of that uid, and a file of root's that the account may not read."""

    def __init__(self, root):
        self.path = root / "home/anna"
        self.keys = self.path / ".ssh/authorized_keys"
        self.shadow = root / "etc/shadow"
        for folder in (self.keys.parent, self.shadow.parent):
            folder.mkdir(parents=True)
        self.shadow.write_text(SECRET)
        self.shadow.chmod(0o600)
        for one in (self.path, self.keys.parent):
            os.chown(one, UID, UID)

    def write(self, text, mode=0o600, uid=UID):
        self.keys.write_text(text)
        self.keys.chmod(mode)
        os.chown(self.keys, uid, uid)

    def shadow_is_untouched(self):
        assert self.shadow.read_text() == SECRET
        assert stat.S_IMODE(self.shadow.stat().st_mode) == 0o600
        return self.shadow.stat().st_nlink == 1


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def allow(states, home, account="anna", lines=LINES, **more):
    return states.pair.keys_allowed("Keys", file=str(home.keys), account=account, lines=lines, **more)


def remove(states, home, account="anna", **more):
    return states.pair.keys_removed("Keys", file=str(home.keys), account=account, **more)


def block(lines=LINES):
    return f"{key_file.BEGIN}\n{lines}\n{key_file.END}\n"


@pytest.mark.parametrize("way", ["the home", "the folder", "the file", "a hard link", "a pipe"])
@pytest.mark.parametrize("test", [True, False], ids=["test mode", "for real"])
def test_root_follows_nothing_that_an_account_has_put_there(states, home, tmp_path, way, test):
    elsewhere = tmp_path / "elsewhere"
    if way == "the home":
        home.path.rename(elsewhere)
        home.path.symlink_to(elsewhere)
        (elsewhere / ".ssh/authorized_keys").write_text(block("restrict ssh-ed25519 OLD salt2"))
    elif way == "the folder":
        home.keys.parent.rename(elsewhere)
        home.keys.parent.symlink_to(elsewhere)
        (elsewhere / "authorized_keys").write_text(block("restrict ssh-ed25519 OLD salt2"))
    elif way == "the file":
        home.keys.symlink_to(home.shadow)
    elif way == "a hard link":
        os.link(home.shadow, home.keys)
    else:
        os.mkfifo(home.keys)
    before = sorted((str(one), mode(one)) for one in tmp_path.rglob("*"))
    ret = allow(states, home, test=test)
    assert ret.result is False and ret.changes == {}, ret.comment
    assert str(home.keys) in ret.comment and "Nothing was changed" in ret.comment
    assert "Traceback" not in ret.comment
    home.shadow_is_untouched()
    # Nor is a block taken out of what is elsewhere; for a hard link there is none.
    if way != "a hard link":
        ret = remove(states, home, test=test)
        assert ret.result is False and ret.changes == {}, ret.comment
    assert sorted((str(one), mode(one)) for one in tmp_path.rglob("*")) == before
    assert not any("OLD" not in one.read_text() for one in elsewhere.rglob("authorized_keys"))


def test_a_file_of_root_that_an_account_has_given_that_name_is_not_shown_to_it(states, home):
    home.shadow.rename(home.keys)
    ret = allow(states, home)
    assert ret.result is False and "would be shown to all" in ret.comment
    assert mode(home.keys) == 0o600 and home.keys.read_text() == SECRET


def test_a_file_that_is_not_there_is_made_with_its_folders(states, home):
    home.keys.parent.rmdir()
    home.path.rmdir()
    old = os.umask(0o077)
    try:
        ret = allow(states, home)
    finally:
        os.umask(old)
    assert ret.result is True
    assert ret.changes == {"keys": {"old": None, "new": LINES}, "mode": {"old": None, "new": "0644"}}
    assert home.keys.read_text() == block()
    assert [mode(one) for one in (home.path, home.keys.parent, home.keys)] == [0o755, 0o755, 0o644]
    assert home.keys.stat().st_uid == home.keys.parent.stat().st_uid == 0


def test_the_file_of_root_is_for_root_alone(states, home):
    home.keys.parent.rmdir()
    ret = allow(states, home, account="root")
    assert ret.result is True and home.keys.read_text() == block()
    assert [mode(one) for one in (home.keys.parent, home.keys)] == [0o700, 0o600]


def test_the_file_of_root_may_be_a_link_of_his_own(states, home, tmp_path):
    """On Proxmox it is one, to a file that all nodes of the cluster share."""
    shared = tmp_path / "pve/authorized_keys"
    shared.parent.mkdir()
    shared.write_text("ssh-rsa CCCC root@pve\n")
    home.keys.symlink_to(shared)
    assert allow(states, home, account="root").result is True
    assert home.keys.is_symlink() and shared.read_text() == f"ssh-rsa CCCC root@pve\n{block()}"
    assert remove(states, home, account="root").result is True
    assert home.keys.is_symlink() and shared.read_text() == f"ssh-rsa CCCC root@pve\n{block('')}".replace(
        "\n\n", "\n"
    )


@pytest.mark.parametrize("own", ["ssh-rsa CCCC anna\n", "ssh-rsa CCCC anna", "# \udcff\n\n"], ids=ascii)
def test_all_else_in_the_file_stays_and_whose_it_is(states, modules, home, own):
    home.write("")
    home.keys.write_bytes(own.encode(errors="surrogateescape"))
    ret = allow(states, home)
    assert ret.result is True and ret.changes["mode"] == {"old": "0600", "new": "0644"}
    kept = own if own.endswith("\n") else f"{own}\n"
    assert home.keys.read_text(errors="surrogateescape") == f"{kept}{block()}"
    assert (home.keys.stat().st_uid, home.keys.stat().st_gid, mode(home.keys)) == (UID, UID, 0o644)
    again = allow(states, home)
    assert (again.result, again.changes) == (True, {})
    assert sorted(os.listdir(home.keys.parent)) == ["authorized_keys"]

    ret = allow(states, home, lines="restrict ssh-ed25519 NEW salt2")
    assert ret.changes == {"keys": {"old": LINES, "new": "restrict ssh-ed25519 NEW salt2"}}
    ret = remove(states, home)
    assert ret.result is True
    assert ret.changes == {"keys": {"old": "restrict ssh-ed25519 NEW salt2", "new": ""}}
    assert home.keys.read_text(errors="surrogateescape") == f"{kept}{key_file.BEGIN}\n{key_file.END}\n"
    assert (home.keys.stat().st_uid, mode(home.keys)) == (UID, 0o644)
    again = remove(states, home)
    assert (again.result, again.changes) == (True, {})


def test_removing_does_not_change_the_mode_and_makes_no_file(states, home):
    assert remove(states, home).result is True and not home.keys.exists()
    home.write(block(), mode=0o640)
    assert remove(states, home).result is True
    assert mode(home.keys) == 0o640


def test_what_the_states_of_salt_wrote_before_is_left_as_it_is(states, modules, home):
    for lines in ("", LINES):
        home.write("ssh-rsa CCCC anna\n", mode=0o644)
        ret = states.file.blockreplace(
            str(home.keys),
            marker_start=key_file.BEGIN,
            marker_end=key_file.END,
            content=lines,
            append_if_not_found=True,
            backup=False,
        )
        assert ret.result is True
        before = home.keys.read_bytes()
        ret = allow(states, home, lines=lines)
        assert (ret.result, ret.changes) == (True, {})
        assert home.keys.read_bytes() == before


def test_a_block_without_its_end_is_left_and_named(states, home):
    home.write(f"{key_file.BEGIN}\nrestrict ssh-ed25519 AAAA salt2\n", mode=0o644)
    before = home.keys.read_text()
    for ret in (allow(states, home), remove(states, home)):
        assert ret.result is False and str(home.keys) in ret.comment and key_file.END in ret.comment
    assert home.keys.read_text() == before


def test_a_file_that_was_in_use_before_is_found_and_one_behind_a_link_too(modules, home, monkeypatch):
    monkeypatch.setattr(key_file, "of_account", lambda account: str(home.keys))
    assert key_file.has_block(str(home.keys), "anna") is False
    home.write("ssh-rsa CCCC anna\n")
    assert key_file.has_block(str(home.keys), "anna") is False
    home.write(block())
    assert modules.pair.former_key_files(str(home.keys)) == [{"file": str(home.keys), "account": "root"}]
    assert modules.pair.former_key_files(str(home.keys), now=str(home.keys)) == []
    home.keys.unlink()
    home.keys.symlink_to(home.shadow)
    assert key_file.has_block(str(home.keys), "anna") is True
