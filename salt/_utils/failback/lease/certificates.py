"""
Certificates for the members of etcd that Failback sets up, and for the nodes that ask them: openssl does it.

A private key is made on the host that uses it and never leaves it. A request goes to the master, which has
the authority's key, and comes back signed. The master, not the request, says for which addresses it is good.
"""

import pathlib
import re
import tempfile

from failback.errors import Refused
from failback.host import files
from failback.host import system

#: The parts a host can have: a member of etcd, or a node of a pair that asks it.
MEMBER, CLIENT = "member", "client"
#: Days for which all of them are good. One that runs out unnoticed would end the service.
DAYS = 3650
#: Days before the end at which a new one is made when the orchestration runs.
RENEW_BEFORE = 1000

#: The subject of a member; etcd lets no other certificate in between its members.
SUBJECTS = {MEMBER: "failback-lease-member", CLIENT: "failback-lease-client"}
_LIMIT = 30
_AUTHORITY = """\
[req]
distinguished_name = name
x509_extensions = authority
prompt = no
[name]
CN = Failback lease authority
[authority]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
"""
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----\n[A-Za-z0-9+/=\n]+-----END \1-----\n?")


def place(paths, part):
    """
    The folder of a host's certificate: etcd does not run as root, and may not look into Failback's own.

    Raises ``Refused`` for what is neither ``MEMBER`` nor ``CLIENT``.
    """
    if part not in SUBJECTS:
        raise Refused(f"A certificate is for {' or '.join(SUBJECTS)}, not for {part!r}.")
    return paths.root / "etc/etcd" if part == MEMBER else paths.configuration / "lease"


def request(paths, part, anew=False):
    """
    A request for a certificate of this host, with the key that it keeps.

    part
        ``MEMBER`` or ``CLIENT``.

    anew
        Also when the certificate it has is good for long enough.

    Returns the text, or None when none is needed. Raises ``Unavailable``; ``Refused`` for
    another part.
    """
    folder, subject = place(paths, part), SUBJECTS[part]
    certificate, key = folder / f"{part}.crt", folder / f"{part}.key"
    if not anew and key.exists() and certificate.exists() and _lasts(certificate):
        return None
    files.make_folder(folder)
    if not key.exists():
        files.write_atomically(key, _new_key())
    return _openssl(["req", "-new", "-key", str(key), "-subj", f"/CN={subject}"], "ask for a certificate")


def install(paths, part, certificate, authority):
    """
    Put a signed certificate of this host, and the authority's, in their places.

    Returns True when that changed something. Raises ``Refused`` for what is no certificate.
    """
    changed = False
    for name, text in ((f"{part}.crt", certificate), ("ca.crt", authority)):
        path = place(paths, part) / name
        if not _PEM.fullmatch(text):
            raise Refused(f"{name}: this is not a certificate.")
        if not path.exists() or path.read_text() != text:
            files.write_atomically(path, text, mode=0o644)
            changed = True
    return changed


def authority(folder):
    """
    The authority's certificate; made, with its key, in a folder of the master where there is none yet.

    folder
        It is replicated with the master's other keys, so that the other master signs with the same one.
    """
    folder = pathlib.Path(folder)
    certificate, key = folder / "ca.crt", folder / "ca.key"
    if not certificate.exists():
        files.make_folder(folder)
        if not key.exists():
            files.write_atomically(key, _new_key())
        with _file(_AUTHORITY) as settings:
            command = ["req", "-x509", "-new", "-key", str(key), "-days", str(DAYS), "-config", settings]
            files.write_atomically(certificate, _openssl(command, "make the authority of the lease"))
    return certificate.read_text()


def sign(folder, part, wanted, hosts):
    """
    Sign a request.

    part
        What it must be for.

    wanted
        The request.

    hosts
        IP addresses under which the host is reached; empty for a client.

    Returns the certificate. Raises ``Refused`` when the request is for something else.
    """
    folder = pathlib.Path(folder)
    if not _PEM.fullmatch(wanted):
        raise Refused("This is not a request for a certificate.")
    subject = _openssl(
        ["req", "-verify", "-noout", "-subject", "-nameopt", "RFC2253"], "read a request", stdin=wanted
    ).strip()
    if subject.rpartition("=")[2].strip() != SUBJECTS[part]:
        raise Refused(f"A request for {SUBJECTS[part]} was expected, and it is for {subject!r}.")
    # A member is also a client: its gateway asks itself.
    usage = "serverAuth,clientAuth" if part == MEMBER else "clientAuth"
    text = (
        f"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage={usage}\n"
    )
    if hosts:
        text += f"subjectAltName={','.join(f'IP:{one}' for one in hosts)}\n"
    with _file(text) as extensions:
        command = ["x509", "-req", "-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key")]
        # A random number: two masters may sign at different times, with no common list.
        command += ["-CAserial", f"{extensions}.serial", "-CAcreateserial", "-days", str(DAYS)]
        return _openssl([*command, "-extfile", extensions], "sign a certificate", stdin=wanted)


def _lasts(certificate):
    seconds = RENEW_BEFORE * 86400
    command = ["openssl", "x509", "-in", str(certificate), "-noout", "-checkend", str(seconds)]
    return system.exit_status(command, _LIMIT, "look at a certificate")[0] == 0


def _new_key():
    return _openssl(
        ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "make a private key"
    )


def _openssl(words, what, stdin=None):
    return system.run(["openssl", *words], _LIMIT, what, stdin=stdin)


class _file:
    """A file with a text, gone at the end; what openssl writes beside it is gone with it."""

    def __init__(self, text):
        self._text, self._folder = text, None

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="failback-")
        path = pathlib.Path(self._folder.name, "settings")
        path.write_text(self._text)
        return str(path)

    def __exit__(self, *_):
        self._folder.cleanup()
