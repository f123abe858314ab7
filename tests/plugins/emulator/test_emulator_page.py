"""The page: what the console does by hand, done by hand in a browser.

With the environment variable PICTURES, a folder, each test leaves a picture of its page there.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest
from servers.browser import CHROMIUM, Page, page
from servers.push_endpoint import endpoint

from router_plugins.emulator import Emulator, Service

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)"),
]
FILL = """(path, values) => {
  const form = document.querySelector(`form[data-path="${path}"]`)
  for (const [name, value] of Object.entries(values)) {
    const field = form.elements[name]
    if (field instanceof RadioNodeList) [...field].find(radio => radio.value === value).click()
    else if (Array.isArray(value)) for (const option of field.options) option.selected = value.includes(option.value)
    else field.value = value
    if (!(field instanceof RadioNodeList) && !Array.isArray(value) && field.value !== value) throw Error(name)
  }
  form.querySelector("button").click()
}"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async with Emulator().serve() as running:
        yield running


@pytest.fixture
async def tab(service: Service, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[Page]:
    async with page(f"{service.url}/emulator", tmp_path / "profile") as opened:
        await opened.wait('document.getElementById("queues")?.textContent === "None."')
        yield opened
        assert opened.errors == []
        if "PICTURES" in os.environ:
            await opened.picture(
                Path(os.environ["PICTURES"]) / f"{os.environ['PYTEST_CURRENT_TEST'].split('::')[1].split()[0]}.png"
            )


async def fill(tab: Page, path: str, values: str) -> None:
    await tab.run(f"({FILL})({path!r}, {values})")


async def shows(tab: Page, place: str, text: str) -> None:
    await tab.wait(f'document.getElementById("{place}").textContent.includes({text!r})')


async def press(tab: Page, place: str, row: str, button: str) -> None:
    await tab.run(
        f'[...[...document.querySelectorAll("#{place} tr")].find(row => row.textContent.includes({row!r}))'
        f'.querySelectorAll("button")].find(button => button.textContent === {button!r}).click()'
    )


async def test_a_rule_with_a_queue_brings_results_that_are_received_by_hand(tab: Page, service: Service) -> None:
    await fill(tab, "queues", '{name: "results", "attributes.VisibilityTimeout": "60"}')
    await shows(tab, "queues", "results")
    endpoints = "results, http://192.0.2.1/far"
    rule = f'name: "failures", types: ["Deliver:SendFailed"], endpoints: "{endpoints}", delay: "0"'
    await fill(tab, "rules", f"{{{rule}}}")
    await shows(tab, "rules", "active")
    made = service.rules.by_name["failures"]
    assert (made.types, made.endpoints[0]) == (("Deliver:SendFailed",), service.queue_endpoint("results"))
    await fill(tab, "campaigns", '{results: "300"}')
    await tab.wait('/c1.*300/.test(document.querySelector("#campaigns").textContent)')
    await press(tab, "queues", "results", "Look")
    await shows(tab, "messages", "env_id=")
    await press(tab, "queues", "results", "Receive")
    await tab.wait(
        '[...document.querySelectorAll("#messages td:nth-child(2)")].every(cell => cell.textContent === "1")'
    )
    assert service.account.queue("results").counts().inactive > 0
    await press(tab, "queues", "results", "Receive and delete")
    await tab.wait('document.querySelector("#campaigns td:nth-child(10)").textContent !== "0"')
    await press(tab, "rules", "failures", "Delete")
    await shows(tab, "rules", "None.")
    await press(tab, "queues", "results", "Delete")
    await shows(tab, "queues", "None.")
    assert not service.rules.by_name
    assert not service.account.topics


async def test_a_rule_with_a_topic_and_a_subscription_made_by_hand_shows_what_pushes_were_answered(
    tab: Page, service: Service
) -> None:
    async with endpoint("403 No\r\nContent-Length: 0", "204 No Content") as there:
        await fill(tab, "topics", '{name: "mail"}')
        await shows(tab, "topics", "mail")
        await fill(tab, "queues", '{name: "dead"}')
        await shows(tab, "queues", "dead")
        await fill(tab, "rules", '{name: "all", terminal: "topic", topic: "mail"}')
        await shows(tab, "rules", "active from")
        subscription = f'name: "s", endpoint: "{there.url}", content_format: "XML", dead_letter_queue: "dead"'
        await fill(tab, "subscriptions", f'{{topic: "mail", strategy: "EXPONENTIAL_DECAY_RETRY", {subscription}}}')
        await shows(tab, "subscriptions", there.url)
        await fill(tab, "topics/{topic}/messages", '{topic: "mail", body: "<b>by hand</b>", tag: "t"}')
        await shows(tab, "pushes", "403")
        await shows(tab, "pushes", "204")
    attributes = service.account.subscription("mail", "s").attributes
    assert (attributes.notify_content_format, attributes.dlq_policy.queue) == ("XML", "dead")
    assert (await there.wait(2))[0].body.count(b"&lt;b&gt;by hand") == 1


async def test_what_the_console_refuses_is_said_and_faults_are_set(tab: Page, service: Service) -> None:
    await fill(tab, "topics", '{name: "sms.codes"}')
    await shows(tab, "topics", "sms.codes")
    await fill(tab, "rules", '{name: "bad", terminal: "topic", topic: "sms.codes"}')
    await shows(tab, "error", "short messages")
    await tab.run('document.querySelector("#faults [name=duplicates]").value = "0.5"')
    await tab.run('document.querySelector("#faults button").click()')
    with anyio.fail_after(5):
        while service.faults.duplicates != 0.5:
            await anyio.sleep(0.01)
    await tab.wait('document.getElementById("error").textContent === ""')


async def test_a_rule_of_the_bus_made_by_hand_pushes_cloudevents(tab: Page, service: Service) -> None:
    async with endpoint(path="/events") as there:
        types = '["dm:Deliver:Succeed", "dm:Deliver:Fail"]'
        await fill(tab, "bus", f'{{name: "eb", types: {types}, endpoint: "{there.url}", token: "t0ken"}}')
        await shows(tab, "bus", there.url)
        await fill(tab, "campaigns", '{results: "1"}')
        (pushed,) = await there.wait(1)
        assert pushed.lowered["x-eventbridge-signature-token"] == "t0ken"
        await shows(tab, "pushes", "204")
        await press(tab, "bus", "eb", "Delete")
        await shows(tab, "bus", "None.")
    assert not service.bus.by_name


async def test_a_campaign_made_by_hand_has_the_senders_regions_mix_and_domains_that_were_written(
    tab: Page, service: Service
) -> None:
    order = 'results: "40", regions: "cn-beijing", accounts: "a@x.example b@y.example", mix: "spam=3, success"'
    await fill(tab, "campaigns", f'{{{order}, domains: "gmail.com"}}')
    await shows(tab, "campaigns", "c1")
    plan = service.campaigns.get("c1").plan
    assert (plan.regions, plan.accounts) == (("cn-beijing",), ("a@x.example", "b@y.example"))
    assert (plan.mix, plan.domains) == ({"spam": 3, "success": 1}, {"gmail.com": 1})
