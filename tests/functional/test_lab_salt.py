"""lab/files/salt: what the labs' Salt leaves out."""

import pathlib
import subprocess
import sys

import pytest

# The labs have the newest release.
pytestmark = pytest.mark.one_release

PLACE = pathlib.Path(__file__).resolve().parent.parent.parent / "lab/files/salt"
#: Prints whether a key is read whose two halves do not belong together.
PROGRAM = """
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
keys = [rsa.generate_private_key(65537, 1024).private_numbers() for _ in range(2)]
keys.sort(key=lambda one: one.public_numbers.n, reverse=True)  # or the exponent may exceed the modulus
odd = rsa.RSAPrivateNumbers(
    keys[0].p, keys[0].q, keys[1].d, keys[0].dmp1, keys[0].dmq1, keys[0].iqmp, keys[0].public_numbers
).private_key(unsafe_skip_rsa_key_validation=True)
text = odd.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
)
try:
    serialization.load_pem_private_key(text, password=None)
    print("taken")
except ValueError:
    print("refused")
"""


@pytest.mark.parametrize("first, outcome", [("", "refused"), ("import lab_salt", "taken")])
def test_a_key_is_proved_everywhere_but_in_a_lab(first, outcome):
    program = f"import sys; sys.path.insert(0, {str(PLACE)!r})\n{first}\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-B", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == outcome, done.stderr


#: Prints the intervals at which a minion looks at what it was to look at 5 times a second, and each minute.
LOOKS = """
import types
import lab_salt
import salt.minion
intervals = []
given = types.SimpleNamespace(Minion=type("Minion", (), {
    "add_periodic_callback": lambda self, name, method, interval=1: intervals.append(interval)
}))
lab_salt.look_seldom(given)
given.Minion().add_periodic_callback("cleanup", print, interval=0.2)
given.Minion().add_periodic_callback("ping", print, 60)
print(*intervals, salt.minion.Minion.add_periodic_callback.__module__)
"""


def test_a_minion_that_has_nothing_to_do_looks_once_a_second():
    program = f"import sys; sys.path.insert(0, {str(PLACE)!r})\n{LOOKS}"
    done = subprocess.run([sys.executable, "-B", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["1", "60", "lab_salt"], done.stderr


#: Prints what a job finds of the library in memory: at first, when a file has changed, where none is to stay.
LOADS = """
import os, sys, types
import lab_salt
folder = sys.argv[1]
lab_salt.LIBRARY, lab_salt.KEPT = folder, folder + "/kept.conf"
found = lambda: getattr(sys.modules.get("lab_example.part"), "TEXT", None)
handle = {"_handle_decoded_payload": lambda self, data: found()}
given = types.SimpleNamespace(Minion=type("Minion", (), handle))
lab_salt.load_before(given)
minion, part = given.Minion(), folder + "/lab_example/part.py"
os.mkdir(folder + "/lab_example")
open(folder + "/lab_example/__init__.py", "w").close()
open(folder + "/broken.py", "w").write("raise ValueError(1)")
open(part, "w").write("TEXT = 'one'")
said = [minion._handle_decoded_payload({})]
open(lab_salt.KEPT, "w").close()
said += [minion._handle_decoded_payload({}), minion._handle_decoded_payload({})]
open(part, "w").write("TEXT = 'another'")
said.append(minion._handle_decoded_payload({}))
os.unlink(lab_salt.KEPT)
said.append(minion._handle_decoded_payload({}))
print(*said, folder in sys.path)
"""


def test_the_library_is_in_a_minions_memory_as_it_is_on_the_disk(tmp_path):
    program = f"import sys; sys.path.insert(0, {str(PLACE)!r})\n{LOADS}"
    command = [sys.executable, "-B", "-c", program, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["None", "one", "one", "another", "None", "False"], done.stderr


def test_python_reads_it_at_its_start():
    """Lines of a ``.pth`` that begin with ``import`` are run: nothing else would bring it into Salt."""
    lines = (PLACE / "lab_salt.pth").read_text().splitlines()
    assert lines == ["import lab_salt"]
    assert (PLACE / "lab_salt.py").exists()
