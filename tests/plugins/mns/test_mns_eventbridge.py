"""EventBridge's HTTP target on the push listener: its signature, its token, and what strangers try."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo
from hypothesis import given
from hypothesis import strategies as st
from servers import mns_pushes
from servers.eventbridge_pushes import BODY, FILE, SECRET, TOKEN, URL, headers_of, push
from servers.mns_pushes import CERTIFICATE, KEY, Answers, Recorder, certificate_host, connected, request

from router import ConfigError, Message, PemFile, Secret
from router_plugins.directmail.decoder import DirectMail
from router_plugins.mns import eventbridge
from router_plugins.mns.eventbridge_target import EventBridge
from router_plugins.mns.push import MnsPush

pytestmark = pytest.mark.anyio
PUBLIC = KEY.public_key()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def target(**fields: Any) -> EventBridge:
    every: dict[str, Any] = {"url": Secret(URL), "token": Secret(TOKEN), "certificate": CERTIFICATE}
    return EventBridge(**every | fields)


def source(**fields: Any) -> MnsPush:
    return MnsPush(listen="127.0.0.1:0", certificate=CERTIFICATE, eventbridge=target(**fields))


@asynccontextmanager
async def receiving(emit: Recorder, counted: list[str], **fields: Any) -> AsyncGenerator[Answers]:
    every = source(**fields)
    every.check()
    async with every.serving(emit, counted.append) as (_, port), connected(port) as client:
        yield client


@pytest.mark.parametrize("version", ["v2", "v1"])
@pytest.mark.parametrize("vector", FILE["vectors"], ids=["plain", "plain-lf", "token", "token-lf"])
def test_what_openssl_signed_is_genuine_and_nothing_else_is(vector: dict[str, Any], version: Any) -> None:
    headers = vector["headers"]
    assert eventbridge.is_genuine(version, PUBLIC, URL, headers, BODY)
    assert not eventbridge.is_genuine(version, PUBLIC, URL, headers, BODY.replace(b"Fail", b"Succeed"))
    assert not eventbridge.is_genuine(version, PUBLIC, URL + "&more", headers, BODY)
    covered = {"x-eventbridge-signature-timestamp", "x-eventbridge-signature-version", "x-eventbridge-signature-url"}
    covered |= {eventbridge.METHOD[version][0], eventbridge.SIGNATURE[version]}
    for name in covered | ({eventbridge.TOKEN} & headers.keys()):
        assert not eventbridge.is_genuine(version, PUBLIC, URL, headers | {name: headers[name] + "0"}, BODY), name
        without = {key: value for key, value in headers.items() if key != name}
        assert not eventbridge.is_genuine(version, PUBLIC, URL, without, BODY), name


def test_our_signatures_are_those_of_openssl() -> None:
    for vector in FILE["vectors"]:
        if vector["line_feed_at_the_end"]:
            headers = vector["headers"]
            assert eventbridge.sign_v2(KEY, URL, headers, BODY) == headers["x-eventbridge-signature-v2"]
            assert eventbridge.sign_v1(SECRET, URL, headers, BODY) == headers["x-eventbridge-signature"]
            assert eventbridge.encrypt_secret(KEY, SECRET) == headers["x-eventbridge-signature-secret"]


@given(st.sampled_from(["v2", "v1"]), st.text(max_size=400), st.text(max_size=400))
def test_no_text_in_a_header_breaks_the_check(version: Any, signature: str, secret: str) -> None:
    forged = {eventbridge.SIGNATURE[version]: signature, eventbridge.SECRET: secret}
    assert not eventbridge.is_genuine(version, PUBLIC, URL, headers_of() | forged, BODY)


async def test_its_pushes_are_taken_beside_those_of_topics() -> None:
    emit, counted = Recorder(), list[str]()
    async with receiving(emit, counted) as client:
        assert await client.to(push(), mns_pushes.push(), push()) == [204, 204, 204]
    assert [message.body for message in emit.messages] == [BODY, mns_pushes.BODY, BODY]
    assert counted == []
    event = DirectMail().decode(Message(emit.messages[0].body, 0.0), "push")
    assert (event.type, event.get("err_msg")) == ("Deliver:SendFailed", "550 用户不存在")


async def test_each_path_takes_its_own_signature_only() -> None:
    emit, counted = Recorder(), list[str]()
    async with receiving(emit, counted) as client:
        assert await client.to(push(target="/notifications"), mns_pushes.push(target="/events/s3cret")) == [403, 403]
        assert await client.to(push(target="/events/other")) == [404]
    assert (emit.messages, counted) == ([], ["stale", "wrong_token", "unknown_path"])


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"x-eventbridge-signature-token": "guessed"}, "wrong_token"),
        ({"x-eventbridge-signature-token": ""}, "wrong_token"),
        ({"x-eventbridge-signature-token": "\xe4"}, "wrong_token"),
        ({"x-eventbridge-signature-timestamp": "1777258182789"}, "stale"),
        ({"x-eventbridge-signature-timestamp": "yesterday"}, "stale"),
        ({"x-eventbridge-signature-timestamp": ""}, "stale"),
        ({"x-eventbridge-signature-v2": b64encode(b"x" * 256).decode()}, "bad_signature"),
        ({"x-eventbridge-signature-v2": "no base64"}, "bad_signature"),
        ({"x-eventbridge-signature-v2": ""}, "bad_signature"),
        ({"x-eventbridge-hash-method": "SHA1"}, "bad_signature"),
        ({"x-eventbridge-signature-url": "https://elsewhere.example/"}, "bad_signature"),
    ],
)
async def test_a_push_with_anything_wrong_gets_403_and_is_counted(changes: dict[str, str], kind: str) -> None:
    emit, counted = Recorder(), list[str]()
    async with receiving(emit, counted) as client:
        assert await client.to(push(unsigned=changes)) == [403]
        assert await client.to(push()) == [204]
    assert (len(emit.messages), counted) == (1, [kind])


@pytest.mark.parametrize("age", [61.0, -61.0])
async def test_a_push_that_is_too_old_or_from_the_future_is_stale_unless_any_age_is_taken(age: float) -> None:
    counted: list[str] = []
    async with receiving(Recorder(), counted) as client:
        assert await client.to(push(age=age)) == [403]
    assert counted == ["stale"]
    async with receiving(Recorder(), counted, max_age=0) as client:
        assert await client.to(push(age=age)) == [204]


async def test_a_push_to_somebody_elses_url_cannot_be_played_here() -> None:
    """Everybody can have EventBridge push to themselves, and send that on to us with any Host."""
    counted: list[str] = []
    theirs = push(url="https://attacker.example/events/s3cret?from=eventbridge")
    async with receiving(Recorder(), counted) as client:
        assert await client.to(theirs.replace(b"Host: x", b"Host: attacker.example")) == [403]
    assert counted == ["bad_signature"]


async def test_version_1_can_be_forged_by_everybody_who_was_pushed_to_and_is_refused_by_default() -> None:
    seen = headers_of(b"{}", url="https://attacker.example/", token="theirs")
    secret = PUBLIC.recover_data_from_signature(
        b64decode(seen["x-eventbridge-signature-secret"]), PKCS1v15(), NoDigestInfo()
    )
    forged = headers_of() | {"x-eventbridge-signature-v2": "", "x-eventbridge-signature-token": TOKEN}
    forged["x-eventbridge-signature"] = eventbridge.sign_v1(secret, URL, forged, BODY)
    counted: list[str] = []
    async with receiving(Recorder(), counted) as client:
        assert await client.to(request(BODY, forged, target="/events/s3cret")) == [403]
        assert counted == ["bad_signature"]
    async with receiving(Recorder(), counted, signatures=("v2", "v1")) as client:
        assert await client.to(request(BODY, forged, target="/events/s3cret")) == [204]  # they know the token
        forged["x-eventbridge-signature-token"] = "not known"
        assert await client.to(request(BODY, forged, target="/events/s3cret")) == [403]


async def test_a_wrong_version_2_is_not_made_up_for_by_a_version_1() -> None:
    counted: list[str] = []
    wrong = b64encode(b"x" * 256).decode()
    async with receiving(Recorder(), counted, signatures=("v2", "v1")) as client:
        assert await client.to(push(unsigned={"x-eventbridge-signature-v2": wrong})) == [403]
        assert await client.to(push(unsigned={"x-eventbridge-signature-v2": ""})) == [204]
    assert counted == ["bad_signature"]


async def test_a_target_without_a_token_takes_pushes_with_one_and_without() -> None:
    async with receiving(Recorder(), [], token=None) as client:
        assert await client.to(push(token=None), push(token="any"), push(token=None, age=1)) == [204] * 3


async def test_the_signature_covers_the_url_there_whatever_the_path_is_here() -> None:
    async with receiving(Recorder(), [], path=Secret("/internal")) as client:
        assert await client.to(push(target="/internal?from=eventbridge")) == [204]
        assert await client.to(push(target="/internal")) == [204]
        assert await client.to(push()) == [404]


async def test_its_certificate_is_fetched_once_and_only_from_an_allowed_place() -> None:
    counted: list[str] = []
    async with certificate_host() as host:
        fields = {"certificate": None, "certificate_urls": (host.prefix,)}
        async with receiving(Recorder(), counted, **fields) as client:
            assert await client.to(*[push(certificate_url=host.prefix + "a.pem")] * 3) == [204] * 3
            assert await client.to(push()) == [403]
        assert host.asked == ["/certificates/a.pem"]
    assert counted == ["wrong_certificate_url"]


@pytest.mark.parametrize("bucket", ["evil-eventbridge", "x-cn-hangzhou-eventbridge", "cn-hangzhou-eventbridge.evil"])
async def test_a_bucket_with_a_likely_name_is_not_trusted(bucket: str) -> None:
    counted: list[str] = []
    url = f"https://{bucket}.oss-accelerate.aliyuncs.com/x509_public_certificate.pem"
    fields = {"certificate": None, "certificate_urls": eventbridge.DOCUMENTED_URLS}
    async with receiving(Recorder(), counted, **fields) as client:
        assert await client.to(push(certificate_url=url)) == [403]
    assert counted == ["wrong_certificate_url"]


async def test_without_verification_the_token_is_still_asked_for() -> None:
    every = MnsPush(listen="127.0.0.1:0", verify=False, eventbridge=target())
    async with every.serving(Recorder(), lambda _: None) as (_, port), connected(port) as client:
        bare = request(BODY, {"x-eventbridge-signature-token": TOKEN}, target="/events/s3cret")
        assert await client.to(bare, request(BODY, {}, target="/events/s3cret")) == [204, 403]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", Secret("router.example.com/events")),
        ("url", Secret("https:///events")),
        ("url", Secret("https://router.example.com/events#x")),
        ("path", Secret("events")),
        ("path", Secret("/events?x")),
        ("path", Secret("/notifications")),
        ("token", Secret("")),
        ("token", Secret("a\nb")),
        ("certificate_urls", ("cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com",)),
        ("certificate", PemFile.read(CERTIFICATE.path.parent / "mns.json")),
    ],
)
def test_a_bad_value_is_refused_with_its_field(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        source(**{field: value}).check()
    assert caught.value.place == f"eventbridge.{field}"


def test_version_1_needs_a_token() -> None:
    with pytest.raises(ConfigError) as caught:
        source(signatures=("v1",), token=None).check()
    assert caught.value.place == "eventbridge.signatures"


def test_secrets_are_not_shown() -> None:
    shown = repr(source())
    assert TOKEN not in shown
    assert "s3cret" not in shown
