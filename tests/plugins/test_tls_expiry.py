"""Certificates that others must trust are warned of before they expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from router import PemFile
from router_plugins.tls import warn_of_expiry


@pytest.mark.parametrize(
    ("days", "said"), [(-1, ["a certificate has expired"]), (13, ["a certificate expires soon"]), (15, [])]
)
def test_a_certificate_is_warned_of_two_weeks_before_it_expires_and_after_that(days: int, said: list[str]) -> None:
    now = datetime.now(UTC)
    issued = trustme.CA().issue_cert(
        "x.example", not_before=now - timedelta(days=90), not_after=now + timedelta(days=days)
    )
    with capture_logs() as logged:
        warn_of_expiry(PemFile(Path("cert.pem"), issued.cert_chain_pems[0].bytes()), "the push listener's")
    assert [line["event"] for line in logged] == said
    assert all(line["file"] == "cert.pem" for line in logged)
