"""What the clients of a run write, and which content may be there afterwards."""

import pathlib
import subprocess
import sys
import threading

import pytest
from faults_facts import operation

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))

from lab import load  # noqa: E402

pytestmark = pytest.mark.one_release


def entries_of_a_full_disk():
    """An overwrite, three appends for which there was no room, one that was answered: recover, seed 47."""
    return [
        operation(87, "overwrite", "f"),
        *(operation(number, "append", "f", answered=None) for number in (90, 96, 103)),
        operation(113, "append", "f"),
    ]


@pytest.mark.parametrize(
    ("content", "right"),
    [
        (load.block(87) + load.block(113), True),
        (load.block(87) + load.block(90)[:70] + load.block(96)[:3] + load.block(113), True),
        (load.block(87) + load.block(90) + load.block(96)[:40] + load.block(103) + load.block(113), True),
        (load.block(87) + load.block(96)[:40] + load.block(90)[:40] + load.block(113), False),
        (load.block(87) + load.block(90)[:70] + load.block(113)[:-1], False),
        (load.block(87)[:-1] + load.block(113), False),
        (load.block(87) + load.block(90)[:70], False),
    ],
)
def test_any_beginning_of_what_was_not_acknowledged_may_be_there(content, right):
    model = load.model_of(entries_of_a_full_disk())
    assert model.matches("f", content) is right


def test_many_writes_that_fail_leave_a_model_that_can_be_searched():
    entries = [operation(1, "create", "f")]
    entries += [operation(number, "append", "f", answered=None) for number in range(2, 60)]
    model = load.model_of(entries)
    assert len(model.files["f"]) == 1
    assert model.matches("f", load.block(1) + load.block(2)[:9] + load.block(59)[:9])
    assert not model.matches("f", load.block(1) + load.block(60))


def operations(path):
    """What a client did, without the part of the names that is new in every run."""
    return [
        (one["operation"], *(one[key].partition("-")[2] for key in ("name", "new_name") if key in one))
        for one in load.entries(path)
    ]


def test_the_load_chooses_by_its_seed_and_not_by_its_names(tmp_path):
    """As the hosts run it: one program, told by its arguments."""
    said = {}
    for number, (prefix, seed) in enumerate([("c1", "7/client"), ("c2", "7/client"), ("c2", "8/client")]):
        root, log = tmp_path / f"root{number}", tmp_path / f"{number}.jsonl"
        root.mkdir()
        service = load.Service(root, 0)
        threading.Thread(target=service.serve_forever, daemon=True).start()
        command = [sys.executable, load.__file__, "write", "--to", "127.0.0.1", "--log", log, "--changes"]
        command += ["--port", service.server_address[1], "--rate", 1000, "--count", 60]
        command += ["--prefix", prefix, "--seed", seed]
        subprocess.run([str(one) for one in command], check=True, timeout=60)
        service.shutdown()
        service.server_close()
        said[prefix, seed] = operations(log)
    assert len(said["c1", "7/client"]) == 60
    assert said["c1", "7/client"] == said["c2", "7/client"] != said["c2", "8/client"]
