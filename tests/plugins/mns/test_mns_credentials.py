"""The key of the next request: one file that rotates, and never a key that is over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router_plugins.mns.credentials import CredentialsError, CredentialsFile

T0 = 1_764_000_000.0  # 2025-11-24T16:00:00Z


COUNTED: list[str] = []


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    COUNTED.clear()


def complain(kind: str, /, **_details: object) -> None:
    COUNTED.append(kind)


def write(path: Path, key: str, expiration: str | None = "2025-11-24T17:00:00Z") -> None:
    document = {"AccessKeyId": key, "AccessKeySecret": "s", "SecurityToken": "t", "Code": "Success"}
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(document | ({} if expiration is None else {"Expiration": expiration})))
    fresh.replace(path)


def test_a_replaced_file_is_in_use_at_once(tmp_path: Path) -> None:
    path = tmp_path / "sts.json"
    write(path, "one")
    keys = CredentialsFile(path, complain, now=lambda: T0)
    assert keys.current().access_key_id == "one"
    write(path, "two")
    assert (keys.current().access_key_id, keys.current().security_token) == ("two", "t")


def test_a_key_is_not_used_once_it_has_expired(tmp_path: Path) -> None:
    path = tmp_path / "sts.json"
    write(path, "one")
    now = [T0]
    keys = CredentialsFile(path, complain, now=lambda: now[0])
    keys.current()
    now[0] += 3600
    with pytest.raises(CredentialsError, match="expired at 2025-11-24T17:00:00"):
        keys.current()
    write(path, "two", "2025-11-24T18:00:00Z")
    assert keys.current().access_key_id == "two"


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"AccessKeyId": ""}', '{"AccessKeyId": 1, "AccessKeySecret": "s"}'])
def test_a_broken_file_leaves_the_last_key_in_use(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "sts.json"
    path.write_text(broken)
    with pytest.raises(CredentialsError, match=r"sts\.json"):
        CredentialsFile(path, complain).current()
    write(path, "one", None)
    keys = CredentialsFile(path, complain)
    keys.current()
    path.write_text(broken)
    assert keys.current().access_key_id == "one"
    path.unlink()
    assert keys.current().access_key_id == "one"
    assert COUNTED == ["refresh_failed"] * 2


def test_the_secret_of_a_file_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "sts.json"
    path.write_text('{"AccessKeyId": "one", "AccessKeySecret": "hush"}')
    assert "hush" not in repr(CredentialsFile(path, complain).current())
