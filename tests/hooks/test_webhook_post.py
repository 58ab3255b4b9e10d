"""webhook-post: events reach a real HTTP server, which verifies each with the library of Standard Webhooks."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.hooks.conftest import Hook
from tests.hooks.receiver import SECRET, Receiver, receiving

OTHER = "whsec_" + "A" * 32
EVENT: dict[str, Any] = {
    "id": "5f0c1d2e3b4a",
    "way": "webhook",
    "type": "shipment.dispatched",
    "timestamp": "2026-11-22T15:04:05.000Z",
    "data": {"shipment": "7k3f-q2mp", "files": 3},
    "attempt": 1,
}
Start = Callable[..., Hook]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def settings(receiver: Receiver, tmp_path: Path) -> dict[str, object]:
    path = tmp_path / "webhook-secret"
    path.touch(0o600)
    path.write_text(f"{SECRET}\n")
    return {"url": receiver.url, "secret_file": "webhook-secret", "credentials": str(tmp_path), "timeout": ANSWER}


ANSWER = 20  # seconds; a busy machine answers late


def test_an_event_arrives_as_it_was_told_and_verifies(start: Start, settings, receiver: Receiver) -> None:
    answer = start("webhook-post", settings).carry(EVENT)
    assert answer == {"id": EVENT["id"], "verdict": "carried", "reason": ""}
    assert receiver.events == [{name: EVENT[name] for name in ("id", "type", "timestamp", "data")}]


def test_letters_beyond_ascii_verify_too(start: Start, settings, receiver: Receiver) -> None:
    start("webhook-post", settings).carry(EVENT | {"data": {"subject": "Blåbærsyltetøy — ¾"}})
    assert receiver.events[0]["data"] == {"subject": "Blåbærsyltetøy — ¾"}


def test_each_attempt_has_the_same_id_and_one_connection_serves_them(start: Start, settings, receiver) -> None:
    hook = start("webhook-post", settings)
    for attempt in (1, 2, 3):
        hook.carry(EVENT | {"attempt": attempt})
    assert [event["id"] for event in receiver.events] == [EVENT["id"]] * 3
    assert len(receiver.connections) == 1


def test_with_another_secret_nothing_verifies(start: Start, settings, receiver: Receiver) -> None:
    receiver.secret = OTHER
    start("webhook-post", settings).carry(EVENT)
    assert (receiver.events, receiver.forged) == ([], 1)


@pytest.mark.parametrize("known", [SECRET, OTHER])
def test_while_a_secret_is_replaced_either_verifies(known: str, start: Start, settings, receiver, tmp_path) -> None:
    hook = start("webhook-post", settings)
    (tmp_path / "webhook-secret").write_text(f"{SECRET}\n{OTHER}\n")
    receiver.secret = known
    assert hook.carry(EVENT)["verdict"] == "carried"
    assert len(receiver.events) == 1


@pytest.mark.parametrize(
    ("status", "verdict", "reason"),
    [
        (200, "carried", ""),
        (202, "carried", ""),
        (204, "carried", ""),
        (302, "later", "the receiver is elsewhere (HTTP 302): set [hook.webhook-post] url to where it is now"),
        (400, "failed", "the receiver refused it (HTTP 400)"),
        (401, "failed", "the receiver refused it (HTTP 401)"),
        (404, "failed", "the receiver refused it (HTTP 404)"),
        (408, "later", "the receiver timed out (HTTP 408)"),
        (410, "failed", "the receiver wants no more of these (HTTP 410)"),
        (429, "later", "the receiver has had enough for now (HTTP 429)"),
        (500, "later", "the receiver has trouble (HTTP 500)"),
        (503, "later", "the receiver has trouble (HTTP 503)"),
    ],
)
def test_each_answer_is_sorted(status: int, verdict: str, reason: str, start: Start, settings, receiver) -> None:
    receiver.status = status
    answer = start("webhook-post", settings).carry(EVENT)
    assert (answer["verdict"], answer["reason"]) == (verdict, reason)


def test_a_redirection_is_not_followed(start: Start, settings, receiver: Receiver) -> None:
    with receiving() as elsewhere:
        receiver.status, receiver.headers = 307, {"Location": elsewhere.url}
        assert start("webhook-post", settings).carry(EVENT)["verdict"] == "later"
        assert elsewhere.events == []


def test_no_answer_in_time_and_nobody_there_are_tried_later(start: Start, settings, receiver: Receiver) -> None:
    receiver.hang = threading.Event()
    hook = start("webhook-post", settings | {"timeout": 0.5})
    assert hook.carry(EVENT)["reason"] == "the receiver gave no answer in time"
    receiver.hang.set()
    receiver.hang = None
    nobody = start("webhook-post", settings | {"url": "http://127.0.0.1:9/"}).carry(EVENT)
    assert (nobody["verdict"], nobody["reason"]) == ("later", "no connection to the receiver")
    assert hook.carry(EVENT)["verdict"] == "carried"


def test_https_is_verified(start: Start, settings, authority: trustme.CA, ca_file: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with receiving(context) as receiver:
        settings["url"] = receiver.url
        untrusted = start("webhook-post", settings).carry(EVENT)
        assert (untrusted["verdict"], receiver.events) == ("later", [])
        assert untrusted["reason"] == "the receiver has no certificate that we trust"
        trusting = start("webhook-post", settings | {"ca_file": ca_file})
        assert trusting.carry(EVENT)["verdict"] == "carried"
        settings["url"] = receiver.url.replace("localhost", "127.0.0.1")  # of which the certificate says nothing
        assert start("webhook-post", settings | {"ca_file": ca_file}).carry(EVENT)["verdict"] == "later"
        assert len(receiver.events) == 1


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"url": ""}, "no receiver: "),
        ({"url": "http://events.example.org/"}, "events don't travel in clear"),
        ({"url": "ftp://events.example.org/"}, "events don't travel in clear"),
        ({"ca_file": "/nowhere.pem"}, "ca_file: there is no /nowhere.pem"),
        ({"secret_file": "nowhere"}, "secret_file: No such file or directory"),
        ({"secret_file": ""}, "no secret: "),
        ({"secret_file": "", "secret": SECRET.removeprefix("whsec_")}, "the secret is not whsec_"),
        ({"secret_file": "", "secret": SECRET[:-3]}, "the secret is not whsec_"),
        ({"secret_file": "", "secret": "whsec_c2hvcnQ="}, "the secret is not whsec_"),
    ],
)
def test_what_only_the_operator_can_mend_is_said_and_waits(wrong, reason, start: Start, settings, receiver) -> None:
    answer = start("webhook-post", settings | wrong).carry(EVENT)
    assert answer["verdict"] == "stop"
    assert answer["reason"].startswith(reason)
    assert SECRET not in answer["reason"]
    assert (receiver.events, receiver.forged) == ([], 0)


def test_a_secret_that_everyone_can_read_is_not_used(start: Start, settings, tmp_path: Path) -> None:
    (tmp_path / "webhook-secret").chmod(0o604)
    assert "can be read by everyone" in start("webhook-post", settings).carry(EVENT)["reason"]


def test_it_ends_with_its_input_and_says_nothing(start: Start, settings) -> None:
    hook = start("webhook-post", settings)
    hook.carry(EVENT)
    assert hook.end() == (0, "")
