"""How far the units of the project are confined, judged by systemd itself without a start of them."""

import pathlib
import re
import subprocess

import jinja2
import pytest

FILES = pathlib.Path(__file__).resolve().parents[2] / "salt/pair/files"
UNIT = {"name": "nagios-notifications.service", "on": "/bin/true on", "off": "/bin/true off"}

#: The most that ``systemd-analyze security`` may give a unit, from 0 (confined) to 10 (root as it is).
EXPOSURE = {"lsyncd.service": 5.0, "guests.service": 5.0, "nagios-switch.service": 5.0, "lease.service": 5.0}
EXPOSURE |= {"look.service": 5.0}
#: It starts the pair's services and runs the site's own proofs of them, whose needs nobody knows.
EXPOSURE |= {"watch.service": 9.0}


def analysed(folder, name):
    text = jinja2.Template((FILES / name).read_text()).render(pair="salt", unit=UNIT)
    (folder / name).write_text(text)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(folder / name)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", EXPOSURE)
def test_a_unit_is_confined(tmp_path, name):
    done = analysed(tmp_path, name)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd cannot judge a unit that is not installed (before 250)")
    (found,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert float(found) <= EXPOSURE[name], done.stdout


def test_every_unit_is_measured():
    services = {path.name for path in FILES.glob("*.service")}
    assert services == set(EXPOSURE)


def test_the_gate_of_lsyncd_is_asked_where_every_failure_counts():
    lines = (FILES / "lsyncd.service").read_text().splitlines()
    assert "ExecStartPre=/usr/local/sbin/failback gate {{ pair }}" in lines
    assert not [line for line in lines if line.startswith(("ExecCondition=", "ExecStartPre=-"))]
