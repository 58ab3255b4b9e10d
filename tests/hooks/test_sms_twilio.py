"""hooks/sms-twilio: Twilio's own SDK against a stand-in for its API."""

from __future__ import annotations

import base64
import signal
import socket
import ssl
import sys
import threading
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from fxsftp import shipped
from tests.hooks.conftest import standing_in

CODE = "7k3f-q2mp-0abc-defg"
SMS = {"id": "n-1", "way": "sms", "to": "+4790000000", "text": f"SSB: The code is {CODE}.", "attempt": 1}


@pytest.fixture
def settings(twilio):
    return {
        "account_sid": "AC00",
        "auth_token": "sesame",
        "from": "SSB",
        "base_url": twilio.url,
        "ca_file": twilio.ca_file,
        "timeout": 10,
        "institution": "SSB",
        "demo": False,
        "state": "/nowhere",
    }


def test_an_sms_goes_out_with_our_account_and_its_number_at_twilio_comes_back(settings, twilio, start):
    answer = start("sms-twilio", settings).carry(SMS)
    assert answer == {"id": "n-1", "verdict": "carried", "reference": "SM0123456789abcdef", "ask": 20}
    ((path, authorization, form),) = twilio.calls
    assert path == "/2010-04-01/Accounts/AC00/Messages.json"
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"AC00:sesame"
    assert form == {"To": "+4790000000", "From": "SSB", "Body": SMS["text"], "ValidityPeriod": "14400"}
    assert twilio.asked == []


def test_a_key_and_a_messaging_service_can_stand_for_token_and_sender(settings, twilio, start, tmp_path):
    secret = tmp_path / "twilio"
    secret.write_text("open\n")
    secret.chmod(0o600)
    del settings["auth_token"], settings["from"]
    keyed = {"api_key": "SK1", "api_secret_file": str(secret), "messaging_service": "MG1"}
    assert start("sms-twilio", settings | keyed).carry(SMS)["verdict"] == "carried"
    ((path, authorization, form),) = twilio.calls
    assert path == "/2010-04-01/Accounts/AC00/Messages.json"
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"SK1:open"
    assert form["MessagingServiceSid"] == "MG1"


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (400, 21211, "failed"),
        (400, 21408, "failed"),
        (400, 21610, "failed"),
        (400, 21614, "failed"),
        (401, 20003, "stop"),
        (400, 30002, "stop"),
        (400, 21606, "stop"),
        (403, None, "stop"),
        (400, 30005, "failed"),
        (400, 30006, "failed"),
        (400, 21999, "failed"),
        (429, 20429, "later"),
        (400, 30001, "later"),
        (400, 30003, "later"),
        (400, 30008, "later"),
        (500, 20500, "later"),
        (503, None, "later"),
    ],
)
def test_each_error_of_twilio_is_sorted_and_its_words_which_quote_the_number_are_not_passed_on(
    status, code, verdict, settings, twilio, start
):
    said = {"status": status, "code": code, "message": f"The 'To' number +4790000000 and {CODE}", "more_info": "…"}
    twilio.answer = (status, said)
    hook = start("sms-twilio", settings)
    answer = hook.carry(SMS)
    assert answer["verdict"] == verdict
    assert str(code or status) in answer["reason"]
    assert "90000000" not in answer["reason"]
    twilio.answer = (201, {"sid": "SM1", "error_code": None})
    assert hook.carry(SMS)["verdict"] == "carried"


def test_an_error_that_comes_with_the_message_counts_too(settings, twilio, start):
    twilio.answer = (201, {"sid": "SM1", "status": "failed", "error_code": 30005})
    assert start("sms-twilio", settings).carry(SMS)["verdict"] == "failed"


@pytest.mark.parametrize("said", ["<html>", '{"half": ', "[]", '"text"'])
def test_rubbish_instead_of_an_answer_means_later(said, settings, twilio, start):
    twilio.answer = (201, said)
    hook = start("sms-twilio", settings)
    assert hook.carry(SMS)["verdict"] == "later"
    twilio.answer = (201, {"sid": "SM1"})
    assert hook.carry(SMS)["verdict"] == "carried"


def test_no_answer_in_time_means_later(settings, twilio, start):
    twilio.hang = threading.Event()
    answer = start("sms-twilio", settings | {"timeout": 0.3}).carry(SMS)
    assert (answer["verdict"], answer["reason"]) == ("later", "Twilio gave no answer in time")
    assert len(twilio.calls) == 1


def test_no_connection_means_later(settings, start):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    answer = start("sms-twilio", settings | {"base_url": f"https://localhost:{port}"}).carry(SMS)
    assert (answer["verdict"], answer["reason"]) == ("later", "no connection to Twilio")


def test_whoever_has_no_certificate_for_the_name_hears_nothing(settings, twilio, authority, start):
    """Of an authority that is not trusted, or for another name: all stops, and nothing was said."""
    said = ("stop", "Twilio's certificate can't be trusted: look at base_url, ca_file and proxy")
    answer = start("sms-twilio", settings | {"ca_file": ""}).carry(SMS)
    assert (answer["verdict"], answer["reason"]) == said
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.other.example").configure_cert(context)
    with standing_in(context) as other:
        hook = start("sms-twilio", settings | {"base_url": other.url})
        for asks in ({}, {"attempt": 2}, {"ask": "SM9"}):
            answer = hook.carry(SMS | asks)
            assert (answer["verdict"], answer["reason"]) == said
    assert twilio.calls == twilio.asked == other.calls == other.asked == []


def test_a_code_travels_in_clear_on_this_very_machine_only(settings, gateway, start):
    assert start("sms-twilio", settings | {"base_url": gateway.url}).carry(SMS)["verdict"] == "carried"
    for url in ("http://192.0.2.1", "http://127.0.0.1.example", "http://localhost@192.0.2.1", "ftp://192.0.2.1", "x"):
        answer = start("sms-twilio", settings | {"base_url": url}).carry(SMS)
        assert (answer["verdict"], "https://" in answer["reason"]) == ("stop", True)


@pytest.mark.parametrize(
    "lacking",
    [
        {"account_sid": ""},
        {"auth_token": ""},
        {"from": ""},
        {"base_url": "http://sms.example"},
        {"ca_file": "/nowhere.pem"},
    ],
)
def test_settings_that_can_not_work_are_said_in_the_reason(lacking, settings, start):
    answer = start("sms-twilio", settings | lacking).carry(SMS)
    assert answer["verdict"] == "stop"
    assert next(iter(lacking)) in answer["reason"]


# ---- after a time-out ----------------------------------------------------------------------------


def kept(**more):
    """One message as Twilio lists it."""
    made = format_datetime(datetime.now(UTC))
    return {
        "sid": "SM9",
        "body": SMS["text"],
        "status": "sent",
        "direction": "outbound-api",
        "date_created": made,
    } | more


def test_what_twilio_took_before_a_time_out_is_found_and_not_sent_again(settings, twilio, start):
    twilio.hang = threading.Event()
    hook = start("sms-twilio", settings | {"timeout": 0.5})
    assert hook.carry(SMS)["verdict"] == "later"
    twilio.tells = (200, {"messages": [kept(body="another", sid="SM8"), kept()]})
    answer = hook.carry(SMS | {"attempt": 2})
    assert (answer["verdict"], answer["reference"]) == ("carried", "SM9")
    assert len(twilio.calls) == 1
    ((path, query),) = twilio.asked
    assert path == "/2010-04-01/Accounts/AC00/Messages.json"
    assert query["To"] == SMS["to"]


@pytest.mark.parametrize(
    "other",
    [
        {"status": "undelivered", "error_code": 30003},
        {"status": "failed"},
        {"body": "SSB: The code is another."},
        {"body": None},
        {"direction": "inbound"},
        {"date_created": "Mon, 05 Jan 2026 10:00:00 +0000"},
    ],
)
def test_what_was_not_taken_or_was_given_up_is_sent_again(other, settings, twilio, start):
    twilio.tells = (200, {"messages": [kept(**other)]})
    answer = start("sms-twilio", settings).carry(SMS | {"attempt": 2})
    assert (answer["verdict"], answer["reference"]) == ("carried", "SM0123456789abcdef")
    assert twilio.calls[0][2]["Body"] == SMS["text"]


def test_words_that_a_trial_account_puts_before_ours_do_not_hide_a_message(settings, twilio, start):
    twilio.tells = (200, {"messages": [kept(body=f"Sent from your Twilio trial account - {SMS['text']}")]})
    assert start("sms-twilio", settings).carry(SMS | {"attempt": 3})["reference"] == "SM9"


@pytest.mark.parametrize(
    ("tells", "verdict"),
    [
        ((500, {"code": 20500, "status": 500}), "later"),
        ((429, {"code": 20429, "status": 429}), "later"),
        ((400, {"code": 20001, "status": 400}), "later"),
        ((401, {"code": 20003, "status": 401}), "stop"),
        ((200, "<html>"), "later"),
    ],
)
def test_nothing_is_sent_again_while_twilio_does_not_say_what_it_has(tells, verdict, settings, twilio, start):
    twilio.tells = tells
    assert start("sms-twilio", settings).carry(SMS | {"attempt": 2})["verdict"] == verdict
    assert twilio.calls == []


# ---- what became of it ---------------------------------------------------------------------------

QUESTION = {"id": "n-1", "way": "sms", "ask": "SM9", "attempt": 1}


@pytest.mark.parametrize(
    ("found", "answer"),
    [
        ({"status": "queued"}, {"verdict": "carried", "ask": 20}),
        ({"status": "sent"}, {"verdict": "carried", "ask": 20}),
        ({"status": "delivered"}, {"verdict": "delivered"}),
        ({"status": "read"}, {"verdict": "delivered"}),
        (
            {"status": "undelivered", "error_code": 30003},
            {"verdict": "again", "reason": "the phone can't be reached just now (Twilio 30003)"},
        ),
        (
            {"status": "undelivered", "error_code": 30005},
            {"verdict": "failed", "reason": "the number is not in use (Twilio 30005)"},
        ),
        (
            {"status": "failed", "error_code": 30002},
            {"verdict": "again", "reason": "the account at Twilio is suspended (Twilio 30002)"},
        ),
        (
            {"status": "canceled"},
            {"verdict": "failed", "reason": "Twilio gave it up and does not say why (canceled)"},
        ),
    ],
)
def test_it_asks_twilio_what_became_of_an_sms(found, answer, settings, twilio, start):
    twilio.tells = (200, {"sid": "SM9"} | found)
    assert start("sms-twilio", settings).carry(QUESTION) == {"id": "n-1"} | answer
    assert twilio.asked[0][0] == "/2010-04-01/Accounts/AC00/Messages/SM9.json"
    assert twilio.calls == []


@pytest.mark.parametrize(
    ("tells", "answer"),
    [
        ((404, {"code": 20404, "status": 404}), {"verdict": "carried"}),
        ((400, {"code": 20001, "status": 400}), {"verdict": "later"}),
        ((503, {}), {"verdict": "later"}),
        ((401, {"code": 20003, "status": 401}), {"verdict": "stop"}),
    ],
)
def test_a_question_that_is_refused_says_nothing_about_the_message(tells, answer, settings, twilio, start):
    twilio.tells = tells
    said = start("sms-twilio", settings).carry(QUESTION)
    assert {name: said.get(name) for name in answer} == answer
    assert "ask" not in said


def test_questions_become_rarer(settings, twilio, start):
    twilio.tells = (200, {"sid": "SM9", "status": "sent"})
    hook = start("sms-twilio", settings)
    assert [hook.carry(QUESTION | {"attempt": n})["ask"] for n in (1, 2, 3, 4, 5, 99)] == [
        20,
        60,
        300,
        1800,
        3600,
        3600,
    ]


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"callbacks": "https://fx.example/callbacks"}, "https://fx.example/callbacks/twilio/n-1"),
        ({"status_callback": "https://own.example/hear/"}, "https://own.example/hear/n-1"),
        (
            {"callbacks": "https://fx.example/callbacks", "status_callback": "https://a.example"},
            "https://a.example/n-1",
        ),
    ],
)
def test_twilio_is_told_where_to_call_back_and_is_asked_less_soon(given, url, settings, twilio, start):
    assert start("sms-twilio", settings | given).carry(SMS)["ask"] == 900
    assert twilio.calls[0][2]["StatusCallback"] == url


def test_how_long_an_sms_may_take_can_be_set(settings, twilio, start):
    start("sms-twilio", settings | {"validity": 600}).carry(SMS)
    assert twilio.calls[0][2]["ValidityPeriod"] == "600"


@pytest.mark.parametrize("status", [201, 400, 500])
def test_nothing_of_a_message_is_logged_even_when_every_logger_is_turned_up(status, settings, twilio, start):
    """Every logger of the process writes to stderr at DEBUG, as a curious operator might have it."""
    if status != 201:
        twilio.answer = (status, {"status": status, "code": 21211, "message": f"bad {SMS['text']} {SMS['to']}"})
    loud = (
        "import logging, runpy, sys; logging.basicConfig(level=logging.DEBUG, stream=sys.stderr);"
        f"runpy.run_path({str(shipped.folder('hooks') / 'sms-twilio')!r}, run_name='__main__')"
    )
    hook = start([sys.executable, "-c", loud], settings)
    answer = hook.carry(SMS)
    _, said = hook.end()
    assert said == ""
    assert CODE not in str(answer)
    assert "90000000" not in str(answer)
    assert twilio.calls[0][2]["Body"] == SMS["text"]


def test_it_ends_without_a_word_with_its_input_and_on_sigterm(settings, start):
    hook = start("sms-twilio", settings)
    hook.carry(SMS)
    assert hook.end() == (0, "")
    hook = start("sms-twilio", settings)
    hook.carry(SMS)
    hook.process.send_signal(signal.SIGTERM)
    assert hook.end() == (0, "")
