"""Campaigns: repeatable, realistic, and written in the documented forms."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta, timezone

import pytest
from cloudevents.core.formats.json import JSONFormat

from router_plugins.emulator.campaign import FEEDBACK, Form, Plan, campaign
from router_plugins.emulator.forms import CLOUD_TYPES, render

START = datetime(2026, 3, 2, 9, tzinfo=timezone(timedelta(hours=8)))
KEYS = ("env_id", "msg_id", "account", "from", "rcpt", "recv_time", "end_time", "status", "event", "region", "err_code",
        "err_msg")  # fmt: skip


def test_equal_plans_yield_equal_results_and_other_seeds_others() -> None:
    plan = Plan(results=200, start=START)
    assert list(campaign(plan)) == list(campaign(Plan(results=200, start=START)))
    assert list(campaign(plan)) != list(campaign(Plan(results=200, seed=2, start=START)))


def test_every_result_has_its_own_env_id_and_recipient() -> None:
    results = list(campaign(Plan(results=20_000, odd=0.5)))
    assert len({(r.env_id, r.rcpt) for r in results}) == 20_000
    assert 0.85 < len({r.env_id for r in results}) / 20_000 < 0.95


def test_the_mix_is_kept_and_every_kind_has_its_status() -> None:
    results = list(campaign(Plan(results=20_000, mix={"success": 3, "spam": 1})))
    statuses = Counter(r.status for r in results)
    assert set(statuses) == {"0", "3"}
    assert 0.72 < statuses["0"] / 20_000 < 0.78
    assert {r.type for r in results if r.status == "3"} == {"Deliver:SendFailed"}


def test_replies_and_addresses_have_what_breaks_careless_parsers() -> None:
    results = list(campaign(Plan(results=20_000)))
    replies = "".join(r.err_msg for r in results)
    assert "http://service.mail.qq.com/cgi-bin/help?subtype=1&&id=20022&&no=1000726" in replies
    assert all(word in replies for word in ("メール", "邮件", "Empfänger", "boîte"))
    assert all(any(c in r.rcpt for r in results) for c in "+=&%")
    assert {r.rcpt.rpartition("@")[2] for r in results} >= {"qq.com", "163.com", "gmail.com"}


def test_the_text_form_has_the_twelve_keys_in_order_and_nothing_escaped() -> None:
    for result in campaign(Plan(results=100, odd=0, mix={"success": 1})):
        pairs = [part.partition("=")[::2] for part in render(result, "1").split("&")]
        assert tuple(key for key, _ in pairs) == KEYS
        assert dict(pairs)["rcpt"] == result.rcpt


def test_the_later_form_has_the_senders_id_in_front_and_the_failed_type_behind() -> None:
    for result in campaign(Plan(results=100, form="later")):
        text = render(result, "1")
        assert text.startswith("X-Notify-Message-ID=")
        assert text.endswith(f"&err_msg={result.err_msg}&failed_type={result.failed_type}")


def test_cloud_events_are_what_the_sdk_of_cloud_events_accepts() -> None:
    seen: set[str] = set()
    for result in campaign(Plan(results=500, form="cloudevents", feedback=0.5)):
        event = JSONFormat().read(None, render(result, "42"))
        data = event.get_data()
        assert isinstance(data, dict)
        assert event.get_type() == CLOUD_TYPES[result.type]
        seen.add(result.type)
        if result.type.startswith("Deliver:"):
            assert data["err_msg"] == result.err_msg
            assert data["send_time"] == result.recv_time.replace(" ", "T")
    assert seen == {*FEEDBACK, "Deliver:SendSuccessfully", "Deliver:SendFailed"}


@pytest.mark.parametrize("form", ["text", "later"])
def test_feedback_has_no_text_form(form: Form) -> None:
    assert {r.type.partition(":")[0] for r in campaign(Plan(results=500, form=form, feedback=1))} == {"Deliver"}
