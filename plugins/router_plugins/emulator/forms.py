"""The forms that a result is published in: the legacy text, the later text, and CloudEvents (PROTOCOL 3)."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256

import msgspec

from router_plugins.emulator.campaign import BEIJING, Result

CLOUD_TYPES = {
    "Deliver:SendSuccessfully": "dm:Deliver:Succeed",
    "Deliver:SendFailed": "dm:Deliver:Fail",
    "Feedback:FblReport": "dm:Feedback:FblReport",
    "Feedback:Subscribe": "dm:Feedback:Subscribe",
    "Feedback:UnSubscribe": "dm:Feedback:UnSubscribe",
    "Trace:Click": "dm:Trace:Click",
    "Trace:Open": "dm:Trace:Open",
    "Validator:GrayListResult": "dm:Validator:GrayListResult",
}
"""Canonical event types to those of EventBridge (PROTOCOL 3.2)."""

_encode = msgspec.json.Encoder().encode


def render(result: Result, account_id: str) -> str:
    """Write the result in its form; `account_id` is the cloud account's number, which CloudEvents name."""
    if result.form == "cloudevents":
        return cloud_event(result, account_id)
    return later_text(result) if result.form == "later" else text(result)


def text(result: Result) -> str:
    """Write the twelve keys of 2017; nothing is escaped (PROTOCOL 3.1)."""
    return (
        f"env_id={result.env_id}&msg_id={result.msg_id}&account={result.account}&from={result.account}"
        f"&rcpt={result.rcpt}&recv_time={result.recv_time}&end_time={result.end_time}&status={result.status}"
        f"&event=deliver&region={result.region}&err_code={result.err_code}&err_msg={result.err_msg}"
    )


def later_text(result: Result) -> str:
    """Write the later form: the sender's own id in front, `failed_type` at the end (PROTOCOL 3.1)."""
    return f"X-Notify-Message-ID={_notify_id(result)}&{text(result)}&failed_type={result.failed_type}"


def cloud_event(result: Result, account_id: str) -> str:
    """Write one CloudEvent as EventBridge puts it into a queue or a request (PROTOCOL 3.2)."""
    cloud_type = CLOUD_TYPES[result.type]
    end = datetime.fromisoformat(result.end_time).replace(tzinfo=BEIJING)
    event = {
        "id": sha256(f"{result.env_id} {result.rcpt} {result.type}".encode()).hexdigest()[:32],
        "source": "acs:dm",
        "specversion": "1.0",
        "type": cloud_type,
        "subject": f"acs:dm:{result.region}:{account_id}:{result.account}",
        "datacontenttype": "application/json;charset=utf-8",
        "time": end.isoformat(),
        "aliyunaccountid": account_id,
        "aliyunpublishtime": f"{end:%Y-%m-%dT%H:%M:%S}.000PRC",
        "aliyuneventbusname": "default",
        "aliyunregionid": result.region,
        "aliyunpublishaddr": "172.16.0.1",
        "data": _data(result, cloud_type, end),
    }
    return _encode(event).decode()


def _data(result: Result, cloud_type: str, end: datetime) -> dict[str, object]:
    group, _, what = result.type.partition(":")
    if group == "Deliver":
        return _delivery(result, cloud_type)
    if what == "FblReport":
        return {
            "send_time": str(int(end.timestamp()) - 60), "block_time": str(int(end.timestamp())),
            "send_email": result.account, "block_email": result.rcpt, "subject": "Spring & summer = sale",
            "message_id": result.msg_id, "fbl_isp": "yahoo", "fingerprint": result.env_id,
        }  # fmt: skip
    if group == "Feedback":
        return {
            "operate_time": result.end_time, "envid": result.env_id, "from": result.account, "rcpt": result.rcpt,
            "client_ip": result.outbound_ip,
        }  # fmt: skip
    return {
        "env_id": result.env_id, "account": result.account, "from": result.account, "rcpt": result.rcpt,
        "msg_id": result.msg_id, "tag": result.tag, "region": result.region, "event": cloud_type,
        "operate_time": result.end_time, "url": "https://shop.example.com/?utm=mail&id=1" if what == "Click" else "",
        "user_agent": "Mozilla/5.0 (Windows NT 10.0)", "client_ip": result.outbound_ip,
    }  # fmt: skip


def _delivery(result: Result, cloud_type: str) -> dict[str, object]:
    return {
        "header": {"X-Notify-Message-ID": _notify_id(result)}, "env_id": result.env_id, "account": result.account,
        "from": result.account, "rcpt": result.rcpt, "msg_id": result.msg_id, "channel_name": "default",
        "outbound_ip": result.outbound_ip, "send_time": result.recv_time.replace(" ", "T"),
        "deliver_time": result.end_time.replace(" ", "T"), "status": result.status, "event": cloud_type,
        "region": result.region, "err_code": result.err_code, "err_msg": result.err_msg,
        "failed_type": result.failed_type, "esp": result.rcpt.rpartition("@")[2], "ip_pool_id": "pool-1",
        "is_dedicated_ip": False, "tag": result.tag,
    }  # fmt: skip


def _notify_id(result: Result) -> str:
    return f"n-{result.env_id}-{result.index}"
