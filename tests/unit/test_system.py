"""The identity of a machine, by which it knows that a process of an earlier boot of its own is gone."""

from failback import system


def test_it_is_the_same_every_time_and_holds_the_host_s_name(monkeypatch, tmp_path):
    place = tmp_path / "machine-id"
    monkeypatch.setattr(system, "MACHINE_ID", place)
    assert system.machine_id() == ""
    place.write_text("77c1b2\n")
    first = system.machine_id()
    assert first == system.machine_id() != ""
    assert first.startswith("77c1b2/") and len(first) > len("77c1b2/")
