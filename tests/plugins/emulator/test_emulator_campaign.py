"""Campaigns: repeatable, realistic, and written in the documented forms."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta, timezone

import msgspec
import pytest
from cloudevents.core.formats.json import JSONFormat
from typer.testing import CliRunner

from router_plugins.emulator.campaign import FEEDBACK, Form, Plan, Result, campaign
from router_plugins.emulator.command import emulator
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


def test_of_the_mails_as_many_fail_and_recover_as_was_published() -> None:
    """12.93 % at first, about a third of those in the end (doi 10.1145/3646547.3688425)."""
    sent: dict[str, list[str]] = {}
    for result in campaign(Plan(results=60_000)):
        sent.setdefault(result.rcpt, []).append(result.status)
    failed = [statuses for statuses in sent.values() if statuses[0] != "0"]
    assert 0.125 < len(failed) / len(sent) < 0.134
    assert 0.30 < sum(statuses[-1] == "0" for statuses in failed) / len(failed) < 0.36
    assert all(statuses == ["0"] for statuses in sent.values() if statuses[0] == "0")


def test_what_is_sent_again_is_a_mail_of_its_own_and_comes_later() -> None:
    results = list(campaign(Plan(results=5000, recovered=1.0, start=START)))
    assert len({(r.env_id, r.rcpt) for r in results}) == len(results) == 5000
    first: dict[str, Result] = {}
    for result in results:
        before = first.setdefault(result.rcpt, result)
        if before is not result:
            assert (before.status, result.status, result.type) == ("4", "0", "Deliver:SendSuccessfully")
            assert (result.account, result.region) == (before.account, before.region)
            assert before.index < result.index
            assert before.recv_time <= result.recv_time
    assert len(first) < 5000


@pytest.mark.parametrize("plan", [Plan(results=2000, mix={"greylisted": 1}), Plan(results=2000, recovered=0)])
def test_nothing_is_sent_again_with_a_mix_of_ones_own_or_where_that_is_said(plan: Plan) -> None:
    assert len({r.rcpt for r in campaign(plan)}) == 2000


def test_senders_regions_and_domains_are_those_that_were_ordered() -> None:
    domains = {"gmail.com": 3.0, "qq.com": 1.0}
    regions = ("cn-beijing", "eu-central-1")
    plan = Plan(results=2000, accounts=("a@x.example",), regions=regions, domains=domains)
    results = list(campaign(plan))
    assert {r.account for r in results} == {"a@x.example"}
    assert {r.region for r in results} == {"cn-beijing", "eu-central-1"}
    found = Counter(r.rcpt.rpartition("@")[2] for r in results)
    assert set(found) == set(domains)
    assert 2.4 < found["gmail.com"] / found["qq.com"] < 3.8


def test_a_start_without_a_zone_is_in_beijing() -> None:
    naive = Plan(results=20, start=START.replace(tzinfo=None))
    assert list(campaign(naive)) == list(campaign(Plan(results=20, start=START)))


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"mix": {}}, "mix needs weights"),
        ({"mix": {"spam": 0}}, "mix needs weights"),
        ({"mix": {"spam": 2, "success": -1}}, "`$.mix[...]`"),
        ({"mix": {"nonsense": 1}}, "nonsense"),
        ({"domains": {"qq.com": 0}}, "domains needs weights"),
        ({"domains": {"a@qq.com": 1}}, "'a@qq.com' is no domain"),
        ({"accounts": ["nobody"]}, "'nobody' is no sender's address"),
        ({"regions": ["cn hangzhou"]}, "'cn hangzhou' is no region"),
        ({"recovered": 1.1}, "`$.recovered`"),
        ({"results": -1}, "`$.results`"),
    ],
)
def test_plans_that_say_nothing_are_refused_with_what_is_wrong(order: dict[str, object], words: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"results": 1} | order, Plan)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--mix spam", "NAME=WEIGHT"),
        ("--mix spam=-1", "NAME=WEIGHT"),
        ("--mix spam=nan", "NAME=WEIGHT"),
        ("--mix spam=1,spam=2", "twice"),
        ("--mix nonsense=1", "there are success, unknown_user"),
        ("--domains qq.com=x", "--domains 'qq.com=x'"),
    ],
)
def test_the_command_refuses_weights_that_are_none_before_it_asks(options: str, words: str) -> None:
    result = CliRunner().invoke(emulator, ["campaign", "5", *options.split(), "--at", "127.0.0.1:1"])
    assert words in str(result.exception)
