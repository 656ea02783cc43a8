"""Authorities of the lab's own, and the certificates that they give to servers."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab.postgres.owner import owner

_SLACK = datetime.timedelta(days=1)  # a clock may be off
_VALID = datetime.timedelta(days=365)
_COMMON_NAME_LENGTH = 64  # X.520's; clients read the alternative names


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that signs others, and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def made(cls, name: str) -> Authority:
        """Return a new authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        built = _builder(name, name, key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        return cls(built.sign(key, hashes.SHA256()), key)

    def write(self, path: Path) -> Path:
        """Write what others need to trust it."""
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def certify(self, folder: Path, stem: str, names: Sequence[str]) -> dict[str, str]:
        """Return parameters of a server whose certificate, made here, is for `names`.

        A name is an address, or one of DNS, whose first label may be `*`.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.certificate.subject.rfc4514_string().removeprefix("CN=")
        signed = _builder(names[0], issuer, key).add_extension(
            x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
        )
        files = {
            "ssl_cert_file": signed.sign(self.key, hashes.SHA256()).public_bytes(
                serialization.Encoding.PEM
            ),
            "ssl_key_file": key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        }
        parameters = {"ssl": "on"}
        for parameter, text in files.items():
            path = folder / f"{stem}.{parameter}.pem"
            path.touch(mode=0o600)
            path.write_bytes(text)
            owner().take(path)
            parameters[parameter] = str(path)
        return parameters


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who certifies servers, and the file by which they trust each other."""

    authority: Authority
    trusted: Path

    @classmethod
    def made(cls, trusted: Path, operators: Path) -> Issuer:
        """Return one whose authority servers find at `trusted`, and operators at `operators`."""
        authority = Authority.made("database authority")
        authority.write(operators)
        operators.chmod(0o600)  # nothing that the servers could read
        owner().take(authority.write(trusted))
        return cls(authority, trusted)

    def identity(self, names: Sequence[str]) -> Identity:
        """Return what a server for `names` needs."""
        return Identity(self, tuple(names))


@dataclass(frozen=True, slots=True)
class Identity:
    """The names of a server, and who certifies that they are its own."""

    issuer: Issuer
    names: tuple[str, ...]

    def certify(self, folder: Path, stem: str) -> dict[str, str]:
        """Return a server's parameters, with a certificate that is made here."""
        found = self.issuer.authority.certify(folder, stem, self.names)
        return found | {"ssl_ca_file": str(self.issuer.trusted)}


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(name: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    common = name[:_COMMON_NAME_LENGTH]
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + _VALID)
    )
