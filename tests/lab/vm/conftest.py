"""The site ``vm``: two hosts of virtual machines, two masters that both reach them."""

import checker
import fresh_lab
import lab_guests
import pytest

from lab import snapshots


@pytest.fixture(scope="session")
def vm_site(lab_name):
    """The hosts of virtual machines and their masters."""
    begin_with = snapshots.ready("vm", lab_guests.set_up)
    with fresh_lab.standing(lab_name, "vm", snapshot=begin_with, keeps_modules=True) as lab:
        yield lab


@pytest.fixture(scope="session")
def all_guests(vm_site):
    return lab_guests.Guests(vm_site).begun()


@pytest.fixture
def guests(all_guests):
    """Both hosts are on and no guest runs. From outside it is looked at all the time that none runs twice."""
    all_guests.all_off()
    with checker.Checker(all_guests):
        yield all_guests
