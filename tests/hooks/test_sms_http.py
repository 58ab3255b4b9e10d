"""hooks/sms-http against a gateway on loopback."""

from __future__ import annotations

import base64
import json
import signal
import socket
import threading
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest

CODE = "7k3f-q2mp-0abc-defg"
TEXT = f'SSB: Koden for "Åses" sending & mer <1> er {CODE}.\nHilsen {{to}} \\ {{secret}}'
SMS = {"id": "n-1", "way": "sms", "to": "+4790000000", "text": TEXT, "attempt": 1}


@pytest.fixture
def settings(gateway):
    gateway.answer = (200, {"status": "ok", "id": "G1"})
    return {
        "url": f"{gateway.url}/send",
        "body": '{"number": "{digits}", "text": "{text}", "reference": "{id}"}',
        "timeout": 10,
        "demo": False,
        "state": "/nowhere",
    }


def test_an_sms_goes_out_as_the_template_says_and_the_gateways_number_comes_back(settings, gateway, start):
    answer = start("sms-http", settings | {"reference": r'"id":\s*"(\w+)"'}).carry(SMS)
    assert answer == {"id": "n-1", "verdict": "carried", "reference": "G1"}
    assert json.loads(gateway.bodies[0]) == {"number": "4790000000", "text": TEXT, "reference": "n-1"}
    assert gateway.headers[0]["Content-Type"] == "application/json"
    assert gateway.calls[0][0] == "/send"


def test_a_form_a_url_and_xml_are_escaped_each_in_its_way(settings, gateway, start):
    hook = start("sms-http", settings | {"body": "to={to}&message={text}"})
    assert hook.carry(SMS)["verdict"] == "carried"
    assert parse_qs(gateway.bodies[0]) == {"to": ["+4790000000"], "message": [TEXT]}
    assert gateway.headers[0]["Content-Type"] == "application/x-www-form-urlencoded"

    url = settings["url"] + "/{digits}?text={text}"
    assert start("sms-http", settings | {"url": url, "body": ""}).carry(SMS)["verdict"] == "carried"
    parts = urlsplit(gateway.calls[1][0])
    assert (parts.path, parse_qs(parts.query)) == ("/send/4790000000", {"text": [TEXT]})

    body = '<sms to="{to}"><text>{text}</text></sms>'
    xml = settings | {"body": body, "headers": {"Content-Type": "application/xml; charset=utf-8"}}
    assert start("sms-http", xml).carry(SMS)["verdict"] == "carried"
    sms = ElementTree.fromstring(gateway.bodies[2])
    assert (sms.get("to"), sms.findtext("text")) == ("+4790000000", TEXT)


def test_secrets_come_from_credentials_and_stand_where_the_settings_say(settings, gateway, start, tmp_path):
    for name in ("sms-token", "sms-password"):
        (tmp_path / name).write_text(f"{name} sesame\n")
        (tmp_path / name).chmod(0o600)
    given = {"credentials": str(tmp_path), "token_file": "sms-token", "headers": {"X-Key": "Bearer {token}"}}
    given |= {"user": "fx", "password_file": "sms-password"}
    hook = start("sms-http", settings | given)
    assert hook.carry(SMS | {"text": "{token}"})["verdict"] == "carried"
    assert gateway.headers[0]["X-Key"] == "Bearer sms-token sesame"
    assert base64.b64decode(gateway.calls[0][1].removeprefix("Basic ")) == b"fx:sms-password sesame"
    assert "sesame" not in gateway.bodies[0]  # what a text says is never looked at again
    (tmp_path / "sms-token").chmod(0o644)
    answer = start("sms-http", settings | given).carry(SMS)
    assert (answer["verdict"], "chmod 600" in answer["reason"]) == ("stop", True)


@pytest.mark.parametrize(
    ("status", "given", "verdict"),
    [
        (200, {}, "carried"),
        (202, {}, "carried"),
        (200, {"ok": [201]}, "later"),
        (200, {"ok_match": '"status": "ok"'}, "carried"),
        (200, {"ok_match": '"status": "sent"'}, "later"),
        (200, {"failed_match": '"status": "ok"'}, "failed"),
        (400, {}, "failed"),
        (422, {}, "failed"),
        (418, {}, "later"),
        (418, {"failed": [418]}, "failed"),
        (401, {}, "stop"),
        (402, {}, "stop"),
        (429, {}, "later"),
        (500, {}, "later"),
        (302, {}, "later"),
    ],
)
def test_the_answer_is_judged_by_status_and_pattern_and_its_words_are_not_passed_on(
    status, given, verdict, settings, gateway, start
):
    gateway.answer = (status, {"status": "ok", "id": "G1", "text": TEXT})
    answer = start("sms-http", settings | given).carry(SMS)
    assert answer["verdict"] == verdict
    assert CODE not in str(answer)
    assert verdict == "carried" or str(status) in answer["reason"]


@pytest.mark.parametrize(
    "lacking",
    [
        {"url": ""},
        {"url": "http://sms.example/send"},
        {"url": "https://{to}.sms.example/send"},
        {"body": "{}"},
        {"escape": "yaml"},
        {"ok_match": "("},
        {"headers": {"X-Text": "{text}"}},
    ],
)
def test_settings_that_can_not_work_are_said_in_the_reason(lacking, settings, start):
    answer = start("sms-http", settings | lacking).carry(SMS)
    assert answer["verdict"] == "stop"
    assert next(iter(lacking)) in answer["reason"]


def test_no_answer_in_time_and_no_connection_mean_later(settings, gateway, start):
    gateway.hang = threading.Event()
    answer = start("sms-http", settings | {"timeout": 0.3}).carry(SMS)
    assert (answer["verdict"], answer["reason"]) == ("later", "the gateway gave no answer in time")
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    answer = start("sms-http", settings | {"url": f"http://127.0.0.1:{port}"}).carry(SMS)
    assert (answer["verdict"], answer["reason"]) == ("later", "no connection to the gateway")


def test_it_says_nothing_and_ends_with_its_input_and_on_sigterm(settings, start):
    hook = start("sms-http", settings | {"url": settings["url"] + "?{text}"})
    hook.carry(SMS)
    assert hook.end() == (0, "")
    hook = start("sms-http", settings)
    hook.carry(SMS)
    hook.process.send_signal(signal.SIGTERM)
    assert hook.end() == (0, "")
