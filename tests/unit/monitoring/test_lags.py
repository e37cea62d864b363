"""What the keeper notes of the lag, on the disk."""

import errno

import pytest
import samples

from failback.host import files
from failback.host.paths import Paths
from failback.monitoring import lags
from failback.pair import Member

HOUR = 3600.0
NOW = 490_064 * HOUR


@pytest.fixture
def member(tmp_path):
    return Member.of(samples.pair("salt1"), Paths(tmp_path))


@pytest.fixture
def written(monkeypatch):
    """How often the file was replaced."""
    found, write = [], files.write_json
    monkeypatch.setattr(files, "write_json", lambda path, *words: (found.append(path), write(path, *words)))
    return found


def test_it_is_kept_over_a_restart_of_the_keeper_and_of_the_node(member):
    lags.Lags(member).note(9.0, NOW, 100.0)
    lags.Lags(member).note(4.0, NOW + 10, 1.0)
    lags.Lags(member).note(5.0, NOW + HOUR, 2.0)
    assert lags.Lags(member).read() == {490_064: 9.0, 490_065: 5.0}


def test_the_disk_is_written_to_once_a_minute_at_most_and_when_there_is_news(member, written):
    history = lags.Lags(member)
    for look in range(60):
        history.note(5.0 + look / 100, NOW + 10 * look, 100.0 + 10 * look)
    assert len(written) == 10
    for look in range(60):
        history.note(2.0, NOW + 600 + 10 * look, 700.0 + 10 * look)
    # The last ones of the first part, which were not written yet.
    assert len(written) == 11
    assert history.read() == {490_064: 5.59}


def test_what_is_not_known_is_not_noted(member, written):
    lags.Lags(member).note(None, NOW, 100.0)
    assert written == [] and lags.Lags(member).read() == {}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 99}', '{"version": 1, "hours": {"a": 1}}'])
def test_a_damaged_file_is_begun_anew(member, content):
    files.make_folder(member.state)
    (member.state / "lag.json").write_text(content)
    lags.Lags(member).note(3.0, NOW, 100.0)
    assert lags.Lags(member).read() == {490_064: 3.0}


def test_a_full_disk_is_not_tried_at_each_look(member, monkeypatch):
    tried = []

    def full(*words):
        tried.append(words)
        raise OSError(errno.ENOSPC, "No space left on device")

    history = lags.Lags(member)
    monkeypatch.setattr(files, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        history.note(3.0, NOW, 100.0)
    history.note(3.0, NOW + 10, 110.0)
    assert len(tried) == 1
