"""A comparison that can never hold is a mistake, with what was probably meant."""

import pytest

from router.match import BadPattern, parse
from router.match.pattern import Plain
from router_plugins.directmail.decoder import DirectMail

DECODER = DirectMail()


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [
        ("rcpt", "*@qq.com", '{glob: "*@qq.com"}'),
        ("rcpt", {"suffix": "*@qq.com"}, '{glob: "*@qq.com"}'),
        ("err_code", "> 1", "{range: [2, null]}"),
        ("err_code", ">=500", "{range: [500, null]}"),
        ("err_code", "0550", "`550`"),
        ("err_code", "550.0", "`550`"),
        ("err_code", "5xx", "{range: [500, 599]}"),
        ("err_code", "500-599", "{range: [500, 599]}"),
        ("err_code", {"range": ["400", "5xx"]}, "{range: [400, 499]}"),
        ("region", "CN-HANGZHOU", "`cn-hangzhou`"),
        ("region", {"prefix": "CN-"}, "`cn-`"),
        ("region", {"cidr": "10.0.0.0/8"}, ""),
        ("region", {"range": ["1", "5"]}, ""),
        ("status", "failed", "`4`"),
        ("status", ["3", "delivered"], "`0`"),
        ("status", {"not": "!3"}, "{not: 3}"),
        ("status", "3, 4", "[3, 4]"),
        ("status", "true", ""),
        ("event", "delivr", "`deliver`"),
        ("type", "Deliver:SendFaild", "`Deliver:SendFailed`"),
        ("type", {"prefix": "dm:"}, ""),
        ("type", {"glob": "deliver:*"}, ""),
        ("outbound_ip", "47.90.0.0/16", "{cidr: 47.90.0.0/16}"),
        ("rcpt_domain", "@QQ.com", "`qq.com`"),
        ("rcpt_domain", {"suffix": "@qq.com"}, ""),
        ("recv_time", "2026-03-01", '{prefix: "2026-03-01"}'),
        ("time", "2026-03-01", '{prefix: "2026-03-01"}'),
        ("is_dedicated_ip", "yes", "`true`"),
        ("id", "123", ""),
    ],
)
def test_what_can_never_match_is_a_mistake_with_the_likely_fix(field: str, value: Plain, hint: str) -> None:
    with pytest.raises(BadPattern) as raised:
        parse({field: value}, DECODER)
    [mistake] = raised.value.mistakes
    assert mistake.path[0] == field
    assert hint in mistake.hint


@pytest.mark.parametrize(
    "pattern",
    [
        {"status": "7"},
        {"status": ""},
        {"err_code": {"prefix": "5"}},
        {"err_code": {"glob": "5??"}},
        {"err_code": {"range": ["400", None]}},
        {"region": {"glob": "cn-*"}},
        {"type": "Other:report"},
        {"type": {"prefix": "Other:x"}},
        {"type": "Undecodable", "reason": {"prefix": "JSON"}},
        {"event": {"glob": "bounce"}},
        {"rcpt": {"glob": "[*]@qq.com"}},
        {"subject": "why?"},
        {"tag": "> 1"},
        {"time": {"prefix": "2026-03"}},
        {"received": {"range": ["2026-03-01", None]}},
        {"client_ip": {"cidr": "10.0.0.0/8"}},
        {"extra.x_campaign": "a"},
        {"is_dedicated_ip": "true"},
    ],
)
def test_what_might_match_one_day_is_none(pattern: Plain) -> None:
    assert parse(pattern, DECODER).fields
