"""The identity of a machine, by which it knows that a process of an earlier boot of its own is gone."""

import pytest
import samples

from failback import system


def test_it_is_the_same_every_time_and_holds_the_host_s_name(monkeypatch, tmp_path):
    place = tmp_path / "machine-id"
    monkeypatch.setattr(system, "MACHINE_ID", place)
    assert system.machine_id() == ""
    place.write_text("77c1b2\n")
    first = system.machine_id()
    assert first == system.machine_id() != ""
    assert first.startswith("77c1b2/") and len(first) > len("77c1b2/")


@pytest.mark.parametrize("ahead", [0, 3600, -3600])
def test_the_step_of_a_clock_is_what_somebody_has_set_it_by(monkeypatch, ahead):
    clock = samples.Clock(monkeypatch, system)
    then = system.clocks()
    clock.now += 100
    clock.set_ahead(ahead)
    assert system.clock_step(then) == ahead
    assert system.clock_step({**then, "boot_id": "another boot"}) == 0
    assert system.clock_step({}) == system.clock_step({**then, "wall": "soon"}) == 0
