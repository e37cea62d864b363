"""``lease`` in the pillar: what is right, what is refused, and what becomes of it."""

import pytest

from failback.pillar import check
from failback.pillar import normalise

PAIR = {
    "primary": {"id": "salt1", "host": "10.0.0.11"},
    "secondary": {"id": "salt2", "host": "10.0.0.12"},
    "floating_ips": {"salt-gw": {"address": "10.0.0.5/24", "interface": "eth0"}},
}
MEMBERS = [{"id": f"m{n}", "host": f"10.0.0.9{n}"} for n in (1, 2, 3)]
OWN = {
    "endpoints": ["https://10.0.0.91:2379"],
    "ca": "/etc/ca.crt",
    "cert": "/etc/a.crt",
    "key": "/etc/a.key",
}


def problems(lease, **changes):
    return [check.sentence(one) for one in check.problems({"salt": {**PAIR, "lease": lease, **changes}})]


@pytest.mark.parametrize(
    "lease", [OWN, {"members": MEMBERS}, {"endpoints": ["http://10.0.0.91:2379"], "ttl": 30}]
)
def test_what_is_right(lease):
    assert problems(lease) == []


@pytest.mark.parametrize(
    ("lease", "words"),
    [
        ({}, "lease: found nothing, wanted members, or the endpoints"),
        ({"ttl": 5, **OWN}, "lease.ttl: found 5"),
        ({"ttl": 31, **OWN}, "lease.ttl: found 31"),
        ({"endpoints": ["10.0.0.91:2379"]}, "lease.endpoints.0"),
        ({"members": MEMBERS, "endpoints": OWN["endpoints"]}, "members or endpoints, not both"),
        ({"members": MEMBERS, "ca": "/etc/ca.crt"}, "members or ca, not both"),
        ({"members": MEMBERS[:2]}, "three members, or five"),
        ({"members": [*MEMBERS[:2], MEMBERS[0]]}, "each member once"),
        ({"members": [*MEMBERS[:2], "m3"]}, "lease.members.2.host"),
        ({**OWN, "key": "/etc/a.key", "cert": "relative"}, "lease.cert"),
        ({key: OWN[key] for key in ("endpoints", "ca", "cert")}, "cert and key, or none"),
        ({**OWN, "endpoints": ["http://10.0.0.91:2379"]}, "https, as there are certificates"),
    ],
)
def test_what_is_refused(lease, words):
    found = problems(lease)
    assert any(words in sentence for sentence in found), found


def test_a_lease_is_for_addresses():
    assert any("floating_ips as well" in one for one in problems(OWN, floating_ips={}))


def test_members_become_endpoints_with_the_certificates_that_highstate_makes():
    found = normalise.normalise(
        "salt", {**PAIR, "lease": {"members": [*MEMBERS[:2], {"id": "m6", "host": "fd00::96"}]}}
    )
    assert found["lease"] == {
        "endpoints": ["https://10.0.0.91:2379", "https://10.0.0.92:2379", "https://[fd00::96]:2379"],
        "members": [*MEMBERS[:2], {"id": "m6", "host": "fd00::96"}],
        "tls": {
            "ca": "/etc/failback/lease/ca.crt",
            "cert": "/etc/failback/lease/client.crt",
            "key": "/etc/failback/lease/client.key",
        },
        "ttl": 10,
        "watchdog": False,
        "prefix": "/failback/",
    }


def test_a_pair_without_one_has_no_such_key():
    assert "lease" not in normalise.normalise("salt", PAIR)
