"""What the program does not load where nobody has a lease: cron starts it each minute."""

import pathlib
import subprocess
import sys

import pytest

LIBRARY = pathlib.Path(__file__).resolve().parents[3] / "salt/_utils"


@pytest.mark.parametrize("module", ["report", "monitoring.facts", "watch.loop", "peer_requests"])
def test_a_program_without_a_lease_loads_no_http_and_no_tls(module):
    text = f"import sys; sys.path.insert(0, {str(LIBRARY)!r}); import failback.{module}; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-IS", "-B", "-c", text], text=True).split()
    assert f"failback.{module}" in loaded
    assert {"ssl", "http.client", "failback.lease.etcd"}.isdisjoint(loaded)
