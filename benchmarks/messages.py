"""Results of mails as they are sent to the router: text, whole HTTP requests, and pushes with real signatures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import md5, sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

_BODY = (
    b"env_id=%010d&msg_id=77041400%010d&account=news@shop.example.com&from=news@shop.example.com"
    b"&rcpt=r%010d@example.net&recv_time=2026-03-01 09:00:00&end_time=2026-03-01 09:00:01&status=0&event=deliver"
    b"&region=cn-hangzhou&err_code=250&err_msg=250 Send Mail OK"
)
TEXT = "text/plain;charset=utf-8"
_HEAD = b"POST %b HTTP/1.1\r\nHost: bench\r\nContent-Type: %b\r\nContent-Length: %d\r\n"
_SIGNED = (
    b"Date: Sun, 01 Mar 2026 01:00:02 GMT\r\nContent-md5: %b\r\nx-mns-version: 2015-06-06\r\n"
    b"x-mns-request-id: 58F047D1B2E2C9335E000001\r\nx-mns-signing-cert-url: "
    + b64encode(b"https://mnstest.oss-cn-hangzhou.aliyuncs.com/x509_public_certificate.pem")
    + b"\r\nx-mns-message-id: %032X\r\nx-mns-topic-owner: 1234567890123456\r\nx-mns-topic-name: dm-topic\r\n"
    b"x-mns-subscription-name: to-http\r\nx-mns-publish-time: 1772326802000\r\nAuthorization: %b\r\n"
)
_BITS = 2048

Request = Callable[[int], bytes]
"""Gives the whole request of the result with a number (1 and up, below ten thousand million)."""


def body(number: int) -> bytes:
    """Return a result in the legacy text; its env_id is the number, and its length is always the same."""
    return _BODY % (number, number, number)


def plain(path: str, content_type: str = TEXT) -> Request:
    """Make requests without a signature, and without the service's headers: those that any HTTP source takes."""
    head = _HEAD % (path.encode(), content_type.encode(), len(body(0))) + b"\r\n"
    whole = head.replace(b"%", b"%%") + _BODY

    def request(number: int) -> bytes:
        return whole % (number, number, number)

    return request


def spread(path: str, accounts: int) -> Request:
    """Make requests of as many accounts, each of which has every so manieth result (`account_of`)."""
    text = _BODY.replace(b"news@shop", b"%b@shop")
    length = len(body(0)) + 2 * (len(account_of(0, accounts)) - len("news"))
    whole = (_HEAD % (path.encode(), TEXT.encode(), length) + b"\r\n").replace(b"%", b"%%") + text
    names = [account_of(part, accounts).encode() for part in range(accounts)]

    def request(number: int) -> bytes:
        name = names[number % accounts]
        return whole % (number, number, name, name, number)

    return request


def account_of(number: int, accounts: int) -> str:
    """Return the name of the account, before its @, that a result with this number has."""
    return f"part{number % accounts:06d}"


def sized(path: str, size: int) -> Request:
    """Make requests whose results have `size` bytes, by a long error message."""
    filling = b"x" * (size - len(body(0)))
    head = _HEAD % (path.encode(), TEXT.encode(), size) + b"\r\n"

    def request(number: int) -> bytes:
        return head + body(number) + filling

    return request


class SignedPushes:
    """Pushes signed with a key of our own, whose signatures are made once and kept in a folder.

    An RSA signature of 2,048 bits takes about half a millisecond, far longer than the router needs to check it, so
    they cannot be made while the load runs.
    """

    def __init__(self, folder: Path, path: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / "certificate.pem"
        self._path = path
        self._key = self._own_key(folder / "key.pem")
        mark = sha256(self._text(0) + self.certificate.read_bytes()).hexdigest()[:12]
        self._kept = folder / f"signatures-{mark}"

    def request(self, count: int) -> Request:
        """Make the pushes numbered 1 to `count`."""
        size = _BITS // 8
        have = self._kept.stat().st_size // size if self._kept.exists() else 0
        with self._kept.open("ab") as kept:
            kept.truncate(have * size)
            for number in range(have + 1, count + 1):
                kept.write(self._key.sign(self._text(number), padding.PKCS1v15(), hashes.SHA1()))
        signatures = self._kept.read_bytes()
        head = _HEAD % (self._path.encode(), TEXT.encode(), len(body(0)))

        def request(number: int) -> bytes:
            text = body(number)
            signature = b64encode(signatures[(number - 1) * size : number * size])
            return head + _SIGNED % (_md5(text), number, signature) + b"\r\n" + text

        return request

    def _text(self, number: int) -> bytes:
        """Return what is signed: method, MD5, type, date, the service's headers by name, path (PROTOCOL 2.2)."""
        lines = (_SIGNED % (_md5(body(number)), number, b"")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        ours = sorted(f"{name}:{value}" for name, value in headers.items() if name.startswith("x-mns-"))
        first = ["POST", headers["Content-md5"], TEXT, headers["Date"]]
        return "\n".join([*first, *ours, self._path]).encode()

    def _own_key(self, path: Path) -> rsa.RSAPrivateKey:
        if not path.exists() or not self.certificate.exists():
            key = rsa.generate_private_key(65537, _BITS)
            form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            path.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
            self.certificate.write_bytes(_certificate(key).public_bytes(serialization.Encoding.PEM))
        kept = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(kept, rsa.RSAPrivateKey)
        return kept


def _md5(text: bytes) -> bytes:
    return md5(text, usedforsecurity=False).hexdigest().upper().encode()


def _certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
