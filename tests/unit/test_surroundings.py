"""What a node says of itself to whoever writes a pillar."""

import pytest
import samples

from failback import surroundings


def test_this_machine_says_what_it_is_like(tmp_path):
    """The kernel is asked, systemd only where a pair names a unit."""
    pair = samples.pair(
        "salt1", services=[], active_services=[], replicate=[{"path": "/srv/x", "then": None}]
    )
    found = surroundings.surroundings([pair, {**pair, "name": "other"}], "salt1", str(tmp_path))
    assert found["node"] == "salt1" and "lo" not in found["interfaces"]
    own = found["pairs"]["salt"]
    assert own["paths"] == {"/srv/x": False}
    assert own["units"] == {} and own["programs"] == [] and own["configured"] == []
    assert set(own["hosts"]) == {pair["primary"]["host"], pair["secondary"]["host"]}
    assert surroundings.surroundings([pair], "client", str(tmp_path))["pairs"] == {}


def test_a_host_that_nobody_knows_has_no_address():
    assert surroundings._addresses_of("no-such-host.invalid") == []
    assert surroundings._addresses_of("10.0.0.5") == ["10.0.0.5"]
    assert surroundings._addresses_of("a" * 300) == []


@pytest.mark.parametrize(
    "entry, missing",
    [
        ({"proof": ["sh", "-c", "true"]}, None),
        ({"proof": ["no-such-program"]}, "no-such-program"),
        ({"proof": None, "status": ["/no/such/program"]}, "/no/such/program"),
        ({"proof": None, "status": None}, None),
    ],
)
def test_a_proof_that_cannot_be_run_is_named(entry, missing):
    assert surroundings._program(entry) == missing
