"""TLS, with a certificate from files or a self-signed one, and what a client without TLS gets."""

import asyncio
import datetime as dt
import hashlib
import ipaddress
import os
import ssl
import stat
import tempfile
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...runtime.cache_folder import cache_folder
from ...runtime.errors import KyutaiOnnxError, UsageError
from ..config import Tls
from .logs import log

DAYS, LEAST_DAYS = 365, 30
"""How long a self-signed certificate is valid, and must still be when the server starts."""
SHUTDOWN_SECONDS = 10
"""Seconds for a client to agree that a connection ends."""
SPEAKS_TLS = "this port speaks TLS: use https://"
REFUSAL = (
    "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
    f"Content-Length: {len(SPEAKS_TLS) + 1}\r\n\r\n{SPEAKS_TLS}\n"
).encode()
PARTING_SECONDS, PARTING_BYTES = 2.0, 1 << 20
"""How long, and how much, is read from a client without TLS after its answer."""


class TlsProtocol(SSLProtocol):
    """Speak TLS for the `protocol` that answers a connection. The handshake has `seconds`. `begun`
    is called with the transport before it, `ended` once the connection is lost. A client that sends
    a request of HTTP in its place is answered that it needs TLS."""

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
        self._raw: asyncio.Transport | None = None
        self._buffer = memoryview(b"")
        self._is_first = True
        self._left: int | None = None
        """Bytes that are still read from a client without TLS."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._raw = transport
        super().connection_made(transport)
        self._begun(transport)

    def get_buffer(self, n: int) -> memoryview:
        self._buffer = super().get_buffer(n)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._is_first and _begins_http(self._buffer[0]):
            self._refuse()
        self._is_first = False
        if self._left is None:
            super().buffer_updated(nbytes)
            return
        self._left -= nbytes
        if self._left < 0 and self._raw is not None:
            self._raw.abort()

    def abort(self) -> bool:
        """Reset the connection below TLS; return whether there was one left."""
        if self._raw is None:
            return False
        self._raw.abort()
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        self._raw = None
        super().connection_lost(exc)
        self._ended()

    def _refuse(self) -> None:
        """Answer without TLS, and read on for a while: to close at once would reset the connection
        before the client has read the answer."""
        assert self._raw is not None
        self._left = PARTING_BYTES
        self._raw.write(REFUSAL)
        self._raw.write_eof()
        asyncio.get_running_loop().call_later(PARTING_SECONDS, self._raw.abort)


def _begins_http(byte: int) -> bool:
    """Return whether a connection's first byte is that of a method, such as GET. TLS begins with
    22."""
    return ord("A") <= byte <= ord("Z")


def ssl_context(tls: Tls, host: str) -> tuple[ssl.SSLContext, str | None]:
    """Return the TLS context of the server, and the fingerprint of a self-signed certificate, which
    is for `host` and this machine's own names.

    Raises UsageError for files that are missing, do not belong together or need a password.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.self_signed:
        pem = kept_certificate(host)
        with tempfile.TemporaryDirectory() as folder:
            certificate = Path(folder) / "certificate.pem"
            certificate.touch(0o600)
            certificate.write_bytes(pem)
            context.load_cert_chain(certificate)
        return context, fingerprint(_der(pem))
    assert tls.cert is not None
    try:
        context.load_cert_chain(tls.cert, tls.key, _refuse_password)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"tls: {tls.cert} and {tls.key} cannot be used ({reason}); give a matching pair in PEM"
        ) from None
    return context, None


def _refuse_password() -> str:
    """Stand for the question that OpenSSL would ask at the terminal."""
    raise UsageError("tls: the key is encrypted; give one without a password")


def fingerprint(der: bytes) -> str:
    """Return the SHA-256 fingerprint of a certificate, as `openssl x509 -fingerprint` writes it."""
    return hashlib.sha256(der).digest().hex(":").upper()


def kept_certificate(host: str) -> bytes:
    """Return the self-signed certificate for `host` and its key, in PEM: that of the last start, or
    a new one if there is none, if it ends soon, or if others could read its key. Servers that start
    at once have the same one.

    Raises UsageError if the package `cryptography` is missing, or if no certificate can have the
    name of the host.
    """
    try:
        path = cache_folder() / "tls" / f"{quote(host.strip('[]'), safe='')}.pem"
        pem = _usable(path)
    except KyutaiOnnxError as error:
        log("certificate not kept", why=str(error))
        return self_signed(host)
    if pem is not None:
        return pem
    pem = self_signed(host)
    try:
        return _keep(pem, path)
    except OSError as error:
        log("certificate not kept", path=str(path), why=error.strerror)
        return pem


def _keep(pem: bytes, path: Path) -> bytes:
    """Put a certificate and its key at a path, and return what is there: that of another server, if
    it was faster. Raises OSError."""
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / "made"
        made.touch(0o600)
        made.write_bytes(pem)
        if _usable(path) is None:
            path.unlink(missing_ok=True)
        try:
            path.hardlink_to(made)  # unlike a rename, it replaces nothing
        except FileExistsError:
            return _usable(path) or pem
    log("certificate made", path=str(path), days=DAYS)
    return pem


def _usable(path: Path) -> bytes | None:
    """Return a kept certificate with its key, if it can be used."""
    x509, _, serialization = _cryptography()
    try:
        with path.open("rb") as file:
            others = stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077
            pem = file.read()
        certificate = x509.load_pem_x509_certificate(pem)
        key = serialization.load_pem_private_key(pem, None)
    except (OSError, ValueError, TypeError):
        return None
    is_secret = os.name != "posix" or not others
    is_pair = key.public_key() == certificate.public_key()
    lasts = certificate.not_valid_after_utc - _now() > dt.timedelta(days=LEAST_DAYS)
    return pem if is_secret and is_pair and lasts else None


def _cryptography() -> tuple[Any, Any, Any]:
    """Return the modules x509, hashes and serialization; raises UsageError if they are missing."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
    except ImportError:
        raise UsageError(
            "tls: self-signed needs 'cryptography': run 'pip install cryptography'"
        ) from None
    return x509, hashes, serialization


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem[pem.index(b"-----BEGIN CERT") :].decode())


def self_signed(host: str) -> bytes:
    """Make a key and a certificate for `host` and this machine's own names, in PEM.

    Raises UsageError if the package `cryptography` is missing.
    """
    x509, hashes, serialization = _cryptography()
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kyutai-onnx")])
    now = _now()
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
    private: bytes = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    public: bytes = certificate.public_bytes(pem)
    return private + public


def _general_name(place: str):  # type: ignore[no-untyped-def]
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(place))
    except ValueError:
        pass
    try:
        return x509.DNSName(place)
    except ValueError:
        raise UsageError(
            f"--host {place}: no certificate can have this name; write it in ASCII"
        ) from None
