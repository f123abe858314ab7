"""What the page and the HTTP API can, the subcommands can: each route, and each field of what it takes."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from io import BytesIO
from typing import Any

import pytest
from typer.testing import CliRunner

from router_plugins.emulator import Emulator, remote
from router_plugins.emulator.admin import Admin
from router_plugins.emulator.bus import BusOrder
from router_plugins.emulator.command import emulator
from router_plugins.emulator.faults import Faults
from router_plugins.emulator.orders import MessageOrder, QueueOrder, ReceiveOrder, SubscriptionOrder, TopicOrder
from router_plugins.emulator.queued import QueueAttributes
from router_plugins.emulator.rules import RuleOrder
from router_plugins.emulator.runs import CampaignOrder
from router_plugins.emulator.topic import TopicAttributes

COMMANDS = (
    """
status
rule list
rule create r --type Deliver:SendFailed --region x --topic t --endpoint http://127.0.0.1/ --delay 0 --format XML
    --strategy BACKOFF_RETRY
rule delete r
bus list
bus create r --type dm:Deliver:Fail --endpoint http://127.0.0.1/ --token t --region x --strategy BACKOFF_RETRY
    --signature v2
bus delete r
queue list
queue create q --visibility 5 --polling-wait 1 --delay 1 --retention 60 --max-size 1024 --logging
    --dead-letter d --max-receive 2
queue delete q
topic list
topic create t --max-size 1024 --logging
topic delete t
subscription list
subscription create t s --endpoint http://127.0.0.1/ --queue q --format XML --strategy BACKOFF_RETRY
    --filter-tag x --dead-letter d
subscription delete t s
peek q
send q body
receive q --count 2 --delete
expire q
publish t body --tag x
pushes
campaign 5 --seed 2 --rate 1 --form later --duplicates 0.1 --account a@x.example --region x --mix spam=1
    --domains x.example --recovered 0.1 --feedback 0.1 --odd 0.1 --tag x --start 2026-03-01T09:00:00
campaigns
progress c1
stop c1
ledger
faults
faults duplicates=0 reordering=0 expired_handles=0 errors=0 lost_answers=0 slow=0 clock_skew=0
""".strip()
    .replace("\n    ", " ")
    .splitlines()
)

Asked = dict[tuple[str, str], Mapping[str, Any]]


@pytest.fixture(scope="module")
def asked() -> Asked:
    """Carry out every command against nobody; return what each asked for, names in paths as {}."""
    found: Asked = {}

    @contextmanager
    def answer(_at: str, method: str, path: str, order: Mapping[str, Any] | None = None) -> Generator[Any]:
        found[method, re.sub(r"(?<=/)(?:r|q|t|s|c1)(?=/|$)", "{}", path.partition("?")[0])] = order or {}
        yield BytesIO(b"[]")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(remote, "answer", answer)
        for line in COMMANDS:
            result = CliRunner().invoke(emulator, line.split(), catch_exceptions=False)
            assert result.exit_code == 0, (line, result.output)
    return found


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_every_route_of_the_api_is_asked_by_a_subcommand(asked: Asked) -> None:
    async with Emulator().serve() as service:
        routes = {
            (route.method, re.sub(r"\{\w+\}", "{}", route.path).removeprefix("/emulator"))
            for route in Admin(service).routes()
        }
    assert routes - {("GET", "")} == set(asked)  # the page itself


@pytest.mark.parametrize(
    ("route", "kind"),
    [
        (("POST", "/rules"), RuleOrder),
        (("POST", "/bus"), BusOrder),
        (("POST", "/queues"), QueueOrder),
        (("POST", "/topics"), TopicOrder),
        (("POST", "/subscriptions"), SubscriptionOrder),
        (("POST", "/topics/{}/messages"), MessageOrder),
        (("POST", "/queues/{}/receive"), ReceiveOrder),
        (("POST", "/campaigns"), CampaignOrder),
        (("PUT", "/faults"), Faults),
    ],
)
def test_every_field_of_an_order_has_its_option(asked: Asked, route: tuple[str, str], kind: Any) -> None:
    assert set(asked[route]) == set(kind.__struct_fields__)


def test_every_attribute_has_its_option(asked: Asked) -> None:
    assert set(asked["POST", "/queues"]["attributes"]) == set(QueueAttributes.__struct_encode_fields__)
    assert set(asked["POST", "/topics"]["attributes"]) == set(TopicAttributes.__struct_encode_fields__)


def test_every_field_of_the_page_has_its_option(asked: Asked) -> None:
    page = (files("router_plugins.emulator") / "page.html").read_text(encoding="utf-8")
    for path, form in re.findall(r'<form data-path="([^"]+)">(.*?)</form>', page, re.DOTALL):
        fields = {name.partition(".")[0] for name in re.findall(r' name="([^"]+)"', form)} - {"terminal"}
        if "{topic}" in path:
            fields.discard("topic")
        assert fields <= set(asked["POST", "/" + path.replace("{topic}", "{}")]), path
