"""TLS, with a certificate from files or a self-signed one."""

import asyncio
import datetime as dt
import ipaddress
import ssl
import tempfile
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from pathlib import Path

from ...runtime.errors import UsageError
from ..config import Tls

DAYS = 365
SHUTDOWN_SECONDS = 10
"""Seconds for a client to agree that a connection ends."""


class TlsProtocol(SSLProtocol):
    """Speak TLS for the `protocol` that answers a connection. The handshake has `seconds`. `begun`
    is called with the transport before it, `ended` once the connection is lost."""

    max_size = 1 << 14
    """Bytes of the buffer for what arrives: asyncio's own is 256 KiB for each connection."""

    def __init__(
        self,
        protocol: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        seconds: int,
        *,
        begun: Callable[[asyncio.BaseTransport], object] = lambda _: None,
        ended: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(
            asyncio.get_running_loop(),
            protocol,
            context,
            None,  # type: ignore[arg-type]
            server_side=True,
            ssl_handshake_timeout=seconds,
            ssl_shutdown_timeout=SHUTDOWN_SECONDS,
        )
        self._begun, self._ended = begun, ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._begun(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._ended()


def ssl_context(tls: Tls, host: str) -> ssl.SSLContext:
    """Return the TLS context of the server. A self-signed certificate is for `host` and this
    machine's own names, and lasts as long as the process.

    Raises UsageError for files that are missing or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.self_signed:
        with tempfile.TemporaryDirectory() as folder:
            certificate = Path(folder) / "certificate.pem"
            certificate.touch(0o600)
            certificate.write_bytes(self_signed(host))
            context.load_cert_chain(certificate)
        return context
    assert tls.cert is not None
    try:
        context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"tls: {tls.cert} and {tls.key} cannot be used ({reason}); give a matching pair in PEM"
        ) from None
    return context


def self_signed(host: str) -> bytes:
    """Make a key and a certificate for `host` and this machine's own names, in PEM.

    Raises UsageError if the package `cryptography` is missing.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID
    except ImportError:
        raise UsageError(
            "tls: self-signed needs 'cryptography': run 'pip install cryptography'"
        ) from None
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kyutai-onnx")])
    now = dt.datetime.now(dt.UTC)
    places = dict.fromkeys([host.strip("[]"), "localhost", "127.0.0.1", "::1"])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(place) for place in places if place]), False
        )
    )
    certificate = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    return key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, plain
    ) + certificate.public_bytes(pem)


def _general_name(place: str):  # type: ignore[no-untyped-def]
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(place))
    except ValueError:
        return x509.DNSName(place)
