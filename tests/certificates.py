"""Self-signed certificates, made for a test."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def write_certificate(name: str, key_file: str = "key.pem", certificate_file: str = "cert.pem") -> None:
    """Write a self-signed certificate for a name, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    clear = serialization.NoEncryption()
    Path(key_file).write_bytes(key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, clear))
    Path(certificate_file).write_bytes(certificate.public_bytes(pem))
