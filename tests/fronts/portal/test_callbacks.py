"""Twilio's callbacks, over HTTP and signed by its own SDK."""

from __future__ import annotations

import itertools
import os
import runpy
import socket

import pytest
from twilio.request_validator import RequestValidator

from fxsftp import shipped
from fxsftp.exchange.reports import Fate
from fxsftp.fronts.portal import callbacks
from tests.carried import carried, shipment_to_ann, waiting

UNKNOWN = "0123456789abcdef01234567"


@pytest.fixture
def notice(house):
    """A code to ann, carried; Twilio calls it SM1."""
    kari, _ = house.kari(), house.ann()
    shipment_to_ann(house, kari)
    return carried(house, "sms")


def state(house, notice):
    return house.exchange.notices.find(notice.id).state


def test_an_sms_that_arrived_is_delivered_and_its_code_erased(house, caller, notice):
    assert house.exchange._holdings.secrets.code(notice.delivery_id)
    assert caller.tell(notice.id, MessageSid="SM1", MessageStatus="delivered").status_code == 204
    assert state(house, notice) == "delivered"
    assert house.exchange._holdings.secrets.code(notice.delivery_id) is None


@pytest.mark.parametrize("code", ["30005", "30006", "21610", "30007", "99999", "", "x"])
def test_an_sms_that_never_will_arrive_is_told_to_the_sender_at_once(code, house, caller, notice):
    form = {"MessageSid": "SM1", "MessageStatus": "undelivered", "ErrorCode": code}
    assert caller.tell(notice.id, **form).status_code == 204
    assert state(house, notice) == "failed"
    assert [each.kind for each in waiting(house, "mail")].count("not_delivered") == 1
    assert (house.exchange.people.by_id(notice.user_id).bounce is not None) == (code in ("30005", "30006"))


@pytest.mark.parametrize("code", ["30001", "30003", "30008", "30002"])
def test_an_sms_that_may_arrive_another_time_is_due_again(code, house, caller, notice):
    form = {"MessageSid": "SM1", "MessageStatus": "undelivered", "ErrorCode": code}
    assert caller.tell(notice.id, **form).status_code == 204
    assert state(house, notice) == "due"


@pytest.mark.parametrize("order", list(itertools.permutations(["sent", "delivered", "undelivered"])))
def test_callbacks_in_any_order_and_twice_end_where_the_first_final_one_said(order, house, caller, notice):
    for status in (*order, *order):
        form = {"MessageSid": "SM1", "MessageStatus": status, "ErrorCode": "30005"}
        assert caller.tell(notice.id, **form).status_code == 204
    first = next(status for status in order if status != "sent")
    assert state(house, notice) == ("delivered" if first == "delivered" else "failed")


def test_a_callback_of_an_older_attempt_changes_nothing(house, caller, notice):
    form = {"MessageSid": "SM1", "MessageStatus": "undelivered", "ErrorCode": "30003"}
    caller.tell(notice.id, **form)
    house.clock.turn(3600)
    carried(house, "sms", "SM2")
    assert caller.tell(notice.id, **form | {"ErrorCode": "30005"}).status_code == 204
    assert state(house, notice) == "carried"
    assert caller.tell(notice.id, MessageSid="SM2", MessageStatus="delivered").status_code == 204
    assert state(house, notice) == "delivered"


def test_a_callback_that_is_faster_than_the_courier_counts(house, caller):
    kari, _ = house.kari(), house.ann()
    shipment_to_ann(house, kari)
    (due,) = waiting(house, "sms")
    caller.tell(due.id, MessageSid="SM1", MessageStatus="delivered")
    assert state(house, due) == "delivered"


@pytest.mark.parametrize("status", ["accepted", "queued", "scheduled", "sending", "sent", "novel", ""])
def test_what_is_under_way_changes_nothing(status, house, caller, notice):
    assert caller.tell(notice.id, MessageSid="SM1", MessageStatus=status).status_code == 204
    assert state(house, notice) == "carried"


def test_a_notice_that_is_unknown_is_answered_like_any_other(caller):
    assert caller.tell(UNKNOWN, MessageSid="SM1", MessageStatus="delivered").status_code == 204


# ---- who is not believed -------------------------------------------------------------------------

DELIVERED = {"MessageSid": "SM1", "MessageStatus": "delivered"}


@pytest.mark.parametrize("signature", ["", "c2VzYW1l", "å", "=" * 5000])
def test_a_call_that_is_not_signed_is_refused(signature, house, caller, notice):
    answer = caller.tell(notice.id, signature=signature.encode("latin-1"), **DELIVERED)
    assert answer.status_code == 403
    assert state(house, notice) == "carried"


def test_a_signature_holds_for_its_own_address_fields_and_token_only(house, caller, notice):
    url = f"https://fx.example/callbacks/twilio/{notice.id}"
    sign = RequestValidator("sesame").compute_signature
    forged = [
        sign(url, DELIVERED | {"MessageStatus": "sent"}),
        sign(url.replace(notice.id, UNKNOWN), DELIVERED),
        sign(url.replace("fx.example", "other.example"), DELIVERED),
        RequestValidator("another").compute_signature(url, DELIVERED),
    ]
    assert [caller.tell(notice.id, signature=each, **DELIVERED).status_code for each in forged] == [403] * 4
    headers = {"X-Twilio-Signature": sign(f"{url}?a=b", DELIVERED)}
    path = f"/callbacks/twilio/{notice.id}?a=b"
    assert caller.post(path, data=DELIVERED, headers=headers).status_code == 403
    assert state(house, notice) == "carried"


def test_the_port_may_stand_in_the_address_that_was_signed(house, caller, notice):
    """Twilio puts it there or leaves it out, as its documentation owns."""
    signed = RequestValidator("sesame").compute_signature(
        f"https://fx.example:443/callbacks/twilio/{notice.id}", DELIVERED
    )
    assert caller.tell(notice.id, signature=signed, **DELIVERED).status_code == 204


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"data": b"a=" + b"b" * 20_000}, 413),
        ({"data": [b"a="] + [b"b" * 1000] * 20}, 413),
        ({"data": b"a=%ff"}, 400),
        ({"data": b"a=1&a=2"}, 400),
        ({"data": b"&".join(b"f%d=1" % n for n in range(200))}, 400),
        ({"data": b'{"a": 1}', "headers": {"Content-Type": "application/json"}}, 415),
        ({"files": {"a": b"b"}}, 415),
        ({"data": b"", "headers": {"Content-Type": ""}}, 415),
    ],
)
def test_what_is_no_small_form_is_refused_before_it_is_looked_at(how, status, caller):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    if isinstance(how.get("data"), list):
        how = how | {"data": iter(how["data"])}  # in chunks, and without a length
    if "files" not in how:
        how = how | {"headers": form | how.get("headers", {})}
    assert caller.post(f"/callbacks/twilio/{UNKNOWN}", **how).status_code == status


@pytest.mark.parametrize("path", ["/", "/callbacks/twilio/", "/callbacks/twilio/x", f"/callbacks/twilio/{UNKNOWN}/x"])
def test_there_is_nothing_else(path, caller):
    assert caller.post(path, data=DELIVERED).status_code == 404


def test_a_caller_that_breaks_off_or_talks_no_http_disturbs_nobody(house, caller, notice):
    for said in (
        b"\0" * 100,
        b"POST /callbacks/twilio/x HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc",
        b"GET " + b"/" * 70_000,
    ):
        with socket.create_connection(("127.0.0.1", caller.port)) as line:
            try:
                line.sendall(said)
            except OSError:
                pass
    assert caller.tell(notice.id, **DELIVERED).status_code == 204


def test_nothing_that_comes_in_is_written_to_a_file(caller, monkeypatch):
    """Starlette's own form() would write what is large to a temporary file."""
    opened: list[object] = []
    real = os.open
    monkeypatch.setattr("tempfile.SpooledTemporaryFile", lambda *_, **__: opened.append("spooled"))
    monkeypatch.setattr(os, "open", lambda path, *rest, **more: (opened.append(path), real(path, *rest, **more))[1])
    assert caller.post(f"/callbacks/twilio/{UNKNOWN}", data={"a": "b" * 10_000}).status_code == 403
    assert opened == []


# ---- the numbers ---------------------------------------------------------------------------------


def test_the_hook_sorts_twilios_errors_as_the_portal_does():
    hook = runpy.run_path(str(shipped.folder("hooks") / "sms-twilio"), run_name="hook")
    for code, words in hook["LATER"].items():
        assert callbacks.fate("failed", str(code)) == (Fate.AGAIN, f"{words} (Twilio {code})")
    for code, words in hook["FAILED"].items():
        fate, reason = callbacks.fate("failed", str(code))
        assert fate in (Fate.WRONG, Fate.LOST)
        assert reason == f"{words} (Twilio {code})"
    assert callbacks.fate("failed", "30002")[0] is Fate.AGAIN
    assert set(hook["ARRIVED"]) == callbacks.ARRIVED
    assert set(hook["LOST"]) == callbacks.GIVEN_UP
