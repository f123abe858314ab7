"""What the directmail tests share: the vendor's samples, and decoding as a source would ask for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from router.event import Event, Message
from router_plugins.directmail.decoder import DirectMail

RECEIVED = 1_700_000_000.0


@pytest.fixture(scope="session")
def decode() -> Callable[..., Event]:
    """Decode a body, received at a fixed time."""

    def decode(body: str | bytes | memoryview, timezone: str = "+08:00") -> Event:
        raw = body.encode() if isinstance(body, str) else body
        return DirectMail(timezone=timezone).decode(Message(raw, RECEIVED), "push")

    return decode


@pytest.fixture(scope="session")
def payloads() -> Mapping[str, Mapping[str, Any]]:
    """Return the vendor's published samples of the text form, by name, each with `raw` and `expect`."""
    samples = json.loads((Path(__file__).parent / "payloads.json").read_text("utf-8"))
    return {sample["name"]: sample for sample in samples}


@pytest.fixture(scope="session")
def sent(payloads: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of the vendor's sample of a success."""
    return str(payloads["seed_success"]["raw"])


@pytest.fixture
def cloud() -> dict[str, Any]:
    """Return a CloudEvent of a success, with every field that PROTOCOL 3.2 names for it."""
    return {
        "id": "45ef4dewdwe1-7c35-447a-bd93-fab****",
        "source": "acs:dm",
        "specversion": "1.0",
        "type": "dm:Deliver:Succeed",
        "subject": "acs:dm:cn-hangzhou:123456789098****:example",
        "time": "2024-04-29T11:07:13+08:00",
        "datacontenttype": "application/json;charset=utf-8",
        "aliyunaccountid": "123456789098****",
        "aliyunpublishtime": "2024-04-29T11:07:14.000PRC",
        "aliyuneventbusname": "default",
        "aliyunregionid": "cn-hangzhou",
        "data": {
            "header": {"X-Notify-Message-ID": "3121639760461824"},
            "env_id": "600000092345678901",
            "account": "news@shop.example.com",
            "from": "news@shop.example.com",
            "rcpt": "reader@Example.NET",
            "msg_id": "<ac349efc@shop.example.com>",
            "channel_name": "default",
            "outbound_ip": "203.0.113.7",
            "send_time": "2024-04-29T11:07:11",
            "deliver_time": "2024-04-29T11:07:12",
            "status": "0",
            "event": "dm:Deliver:Succeed",
            "region": "cn-hangzhou",
            "err_code": "250",
            "err_msg": "250 Send Mail OK",
            "failed_type": "SendOk",
            "esp": "example",
            "ip_pool_id": "pool-1",
            "is_dedicated_ip": True,
            "tag": "spring",
        },
    }
