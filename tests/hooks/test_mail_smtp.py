"""hooks/mail-smtp against a real mail server on loopback."""

from __future__ import annotations

import base64
import signal
import socket
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

TEXT = "Koden er ikke her.\nBlåbærsyltetøy.\n"
MAIL = {
    "id": "n-1",
    "way": "mail",
    "to": "ann@firm.example",
    "from": "exchange@ssb.example",
    "subject": "En ny pakke venter på Åse",
    "text": TEXT,
    "headers": {"Content-Language": "nb"},
    "attempt": 1,
}


def lines(text):
    """Without their ends, which are CRLF on their way."""
    return text.split()


@pytest.fixture
def settings(ca_file):
    return {
        "host": "localhost",
        "ca_file": ca_file,
        "institution": "Statistisk sentralbyrå",
        "support_mail": "help@ssb.example",
        "demo": False,
        "state": "/nowhere",
        "timeout": 10,
    }


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_arrives_encrypted_and_after_a_log_in(security, settings, post_office, start):
    post = post_office(security, log_in=True)
    hook = start("mail-smtp", settings | {"security": security, "port": post.port, "user": "fx", "password": "sesame"})
    answer = hook.carry(MAIL)
    assert answer == {"id": "n-1", "verdict": "carried", "reason": "", "reference": "<n-1@ssb.example>"}
    ((sender, recipients, mail),) = post.mails
    assert (sender, recipients, post.log_ins) == ("exchange@ssb.example", ["ann@firm.example"], [("fx", "sesame")])
    assert mail["Subject"] == MAIL["subject"]
    assert mail["From"] == "Statistisk sentralbyrå <exchange@ssb.example>"
    assert mail["Reply-To"] == "help@ssb.example"
    assert (mail["To"], mail["Message-ID"]) == ("ann@firm.example", "<n-1@ssb.example>")
    assert (mail["Auto-Submitted"], mail["Content-Language"]) == ("auto-generated", "nb")
    assert mail["Date"].datetime.tzinfo is not None
    assert lines(mail.get_content()) == lines(TEXT)


def test_an_html_part_stands_beside_the_text(settings, post_office, start):
    post = post_office("starttls")
    hook = start("mail-smtp", settings | {"port": post.port})
    assert hook.carry(MAIL | {"html": "<p>Hei</p>"})["verdict"] == "carried"
    mail = post.mails[0][2]
    assert lines(mail.get_body(("plain",)).get_content()) == lines(TEXT)
    assert "<p>Hei</p>" in mail.get_body(("html",)).get_content()


def test_one_connection_serves_until_it_is_dropped(settings, post_office, start):
    post = post_office("starttls")
    hook = start("mail-smtp", settings | {"port": post.port})
    for number in range(3):
        assert hook.carry(MAIL | {"id": f"n-{number}"})["verdict"] == "carried"
    assert len(post.callers) == 1
    post.drops = True
    assert hook.carry(MAIL)["verdict"] == "later"
    post.drops = False
    assert hook.carry(MAIL)["verdict"] == "carried"
    assert len(post.callers) == 2


RETURN = {
    "return_path": "bounces+n-1-tag@ssb.example",
    "message_id": "<n-1@fx.example>",
    "list_id": "FX <fx.ssb.example>",
}


@pytest.mark.parametrize(
    ("trouble", "why"), [({"drops": True}, "unexpectedly closed"), ({"lingers": 60.0}, "timed out")]
)
def test_a_mail_whose_taking_we_do_not_hear_of_comes_again_and_can_be_seen_to_be_the_same(
    trouble, why, settings, post_office, start
):
    """The line is dropped after DATA, or the answer to the last dot comes too late: at least once, then."""
    post = post_office("starttls")
    vars(post).update(trouble)
    hook = start("mail-smtp", settings | {"port": post.port, "timeout": 2})
    answer = hook.carry(MAIL | RETURN)
    assert (answer["verdict"], "broke" in answer["reason"], why in answer["reason"]) == ("later", True, True)
    vars(post).update(drops=False, lingers=0.0)
    assert hook.carry(MAIL | RETURN | {"attempt": 2})["verdict"] == "carried"
    assert [mail["Message-ID"] for _, _, mail in post.mails] == ["<n-1@fx.example>"] * 2
    assert len(post.callers) == 2


def test_a_slow_server_is_waited_for_at_each_step(settings, post_office, start):
    """Each of its answers has the whole of the time."""
    post = post_office("starttls")
    post.waits = 0.8
    hook = start("mail-smtp", settings | {"port": post.port, "timeout": 2})
    assert hook.carry(MAIL)["verdict"] == "carried"
    post.waits = 60.0
    answer = hook.carry(MAIL)
    assert (answer["verdict"], "timed out" in answer["reason"]) == ("later", True)
    assert len(post.mails) == 1


def test_a_greylisted_mail_is_carried_by_a_later_attempt(settings, post_office, start):
    post = post_office("starttls")
    post.to_recipient["ann@firm.example"] = "451 4.7.1 greylisted, come back in a minute"
    hook = start("mail-smtp", settings | {"port": post.port})
    for attempt in (1, 2):
        assert hook.carry(MAIL | {"attempt": attempt})["verdict"] == "later"
    del post.to_recipient["ann@firm.example"]
    assert hook.carry(MAIL | {"attempt": 3})["verdict"] == "carried"
    assert (len(post.mails), len(post.callers)) == (1, 1)


def test_a_bounce_has_an_address_of_its_own_and_need_not_carry_all_back(settings, post_office, start):
    post = post_office("starttls", dsn=True)
    hook = start("mail-smtp", settings | {"port": post.port})
    assert hook.carry(MAIL | RETURN)["reference"] == "<n-1@fx.example>"
    ((sender, _, mail),) = post.mails
    assert sender == "bounces+n-1-tag@ssb.example"
    assert post.options == ["RET=HDRS", "ENVID=n-1", "NOTIFY=FAILURE"]
    assert (mail["Message-ID"], mail["List-Id"]) == ("<n-1@fx.example>", "FX <fx.ssb.example>")
    assert "tag" not in mail.as_string()
    assert "n-1" not in mail.get_content()


def test_a_server_that_knows_no_delivery_reports_is_asked_for_none(settings, post_office, start):
    post = post_office("starttls")
    assert start("mail-smtp", settings | {"port": post.port}).carry(MAIL | RETURN)["verdict"] == "carried"
    assert (post.mails[0][0], post.options) == ("bounces+n-1-tag@ssb.example", [])


def test_a_line_that_the_server_closed_meanwhile_costs_nothing(settings, post_office, start):
    """Its 421 is heard, or its silence, before anything is handed over: the same attempt goes on a new line."""
    post = post_office("starttls")
    hook = start("mail-smtp", settings | {"port": post.port})
    assert hook.carry(MAIL)["verdict"] == "carried"
    post.to_sender = ["421 too many on this line"]
    assert hook.carry(MAIL)["verdict"] == "carried"
    post.to_sender = ["hang up"]
    assert hook.carry(MAIL)["verdict"] == "carried"
    assert (len(post.mails), len(post.callers)) == (3, 3)
    post.to_sender = ["421 busy"] * 2
    assert hook.carry(MAIL)["verdict"] == "later"
    assert hook.carry(MAIL)["verdict"] == "carried"


def test_a_server_that_does_not_want_our_sender_stops_all_and_fails_none(settings, post_office, start):
    post = post_office("starttls")
    post.to_sender = ["553 not your address"]
    hook = start("mail-smtp", settings | {"port": post.port})
    answer = hook.carry(MAIL)
    assert (answer["verdict"], "553" in answer["reason"]) == ("stop", True)
    assert hook.carry(MAIL)["verdict"] == "carried"


def test_a_mail_can_be_signed_so_that_whoever_knows_the_key_of_the_domain_can_tell(
    settings, post_office, start, tmp_path
):
    post = post_office("starttls")
    key = rsa.generate_private_key(65537, 2048)
    pem = tmp_path / "dkim.pem"
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    pem.chmod(0o600)
    public = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    signed = settings | {"port": post.port, "dkim_selector": "fx", "dkim_key_file": str(pem)}
    assert start("mail-smtp", signed).carry(MAIL | RETURN | {"html": "<p>Hei</p>"})["verdict"] == "carried"
    zone = {b"fx._domainkey.ssb.example.": b"v=DKIM1; k=rsa; p=" + public}
    assert dkim.verify(post.contents[0], dnsfunc=lambda name, timeout=5: zone[name])
    assert not dkim.verify(post.contents[0].replace(b"Hei", b"Hai"), dnsfunc=lambda name, timeout=5: zone[name])


@pytest.mark.parametrize(("content", "says"), [(None, "dkim_key_file is not"), ("no key", "can't sign")])
def test_a_mail_that_can_not_be_signed_is_not_sent_unsigned(content, says, settings, post_office, start, tmp_path):
    post = post_office("starttls")
    given = {"port": post.port, "dkim_selector": "fx"}
    if content:
        (tmp_path / "dkim.pem").write_text(content)
        (tmp_path / "dkim.pem").chmod(0o600)
        given |= {"dkim_key_file": str(tmp_path / "dkim.pem")}
    answer = start("mail-smtp", settings | given).carry(MAIL)
    assert (answer["verdict"], says in answer["reason"]) == ("stop", True)
    assert not post.mails


def test_a_server_without_starttls_gets_neither_mail_nor_password(settings, post_office, start):
    post = post_office("none")
    hook = start("mail-smtp", settings | {"port": post.port, "user": "fx", "password": "sesame"})
    answer = hook.carry(MAIL)
    assert (answer["verdict"], answer["reason"]) == ("stop", "the mail server offers no STARTTLS")
    assert not post.callers


def test_a_password_does_not_travel_in_clear(settings, post_office, start):
    post = post_office("none")
    plain = settings | {"port": post.port, "security": "none"}
    assert start("mail-smtp", plain).carry(MAIL)["verdict"] == "carried"
    answer = start("mail-smtp", plain | {"user": "fx", "password": "sesame"}).carry(MAIL)
    assert (answer["verdict"], "clear" in answer["reason"]) == ("stop", True)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_that_nobody_vouches_for_is_refused_unless_said_otherwise(security, settings, post_office, start):
    post = post_office(security)
    unknown = settings | {"ca_file": None, "port": post.port, "security": security}
    answer = start("mail-smtp", unknown).carry(MAIL)
    assert (answer["verdict"], "issuer certificate" in answer["reason"]) == ("stop", True)
    answer = start("mail-smtp", settings | {"host": "127.0.0.1", "port": post.port, "security": security}).carry(MAIL)
    assert (answer["verdict"], "127.0.0.1" in answer["reason"]) == ("stop", True)
    assert start("mail-smtp", unknown | {"verify": False}).carry(MAIL)["verdict"] == "carried"


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_for_another_name_is_refused_before_anything_is_said(security, settings, post_office, start):
    post = post_office(security, name="mail.other.example")
    answer = start("mail-smtp", settings | {"port": post.port, "security": security}).carry(MAIL)
    assert (answer["verdict"], "not valid for 'localhost'" in answer["reason"]) == ("stop", True)
    assert not post.callers


@pytest.mark.parametrize(
    ("code", "verdict"), [("421 busy", "later"), ("451 greylisted", "later"), ("550 no such user", "failed")]
)
def test_a_refused_recipient_is_sorted_by_the_servers_code_and_the_next_is_served(
    code, verdict, settings, post_office, start
):
    post = post_office("starttls")
    post.to_recipient["ann@firm.example"] = code
    hook = start("mail-smtp", settings | {"port": post.port})
    answer = hook.carry(MAIL)
    assert answer["verdict"] == verdict
    assert answer["reason"] == f"the mail server answered {code}"
    assert hook.carry(MAIL | {"to": "bob@firm.example"})["verdict"] == "carried"


@pytest.mark.parametrize(("code", "verdict"), [("452 full", "later"), ("554 spam", "failed"), ("530 log in", "stop")])
def test_a_refused_content_is_sorted_by_the_servers_code(code, verdict, settings, post_office, start):
    post = post_office("starttls")
    post.to_data = code
    hook = start("mail-smtp", settings | {"port": post.port})
    assert hook.carry(MAIL)["verdict"] == verdict
    post.to_data = "250 OK"
    assert hook.carry(MAIL)["verdict"] == "carried"


def test_a_wrong_password_stops_all_until_somebody_mends_it(settings, post_office, start):
    post = post_office("starttls", log_in=True)
    answer = start("mail-smtp", settings | {"port": post.port, "user": "fx", "password": "wrong"}).carry(MAIL)
    assert (answer["verdict"], "535" in answer["reason"]) == ("stop", True)
    assert not post.mails


def test_no_server_and_a_server_that_says_nothing_mean_later(settings, start):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        answer = start("mail-smtp", settings | {"port": port, "timeout": 0.2}).carry(MAIL)
        assert (answer["verdict"], "timed out" in answer["reason"]) == ("later", True)
    answer = start("mail-smtp", settings | {"port": port}).carry(MAIL)
    assert (answer["verdict"], "refused" in answer["reason"]) == ("later", True)


@pytest.mark.parametrize(
    "forged",
    [
        {"subject": "Hello\r\nBcc: all@firm.example"},
        {"to": "ann@firm.example>\r\nRCPT TO:<eve@evil.example"},
        {"to": "ann@firm.example, eve@evil.example"},
        {"from": "exchange@ssb.example\nX: y"},
        {"headers": {"X-A": "b\r\n\r\nbody"}},
        {"headers": {"X-A: b\r\nBcc": "eve@evil.example"}},
        {"return_path": "b@ssb.example>\r\nRCPT TO:<eve@evil.example"},
        {"return_path": "bø@ssb.example"},
        {"message_id": "<a@b>\r\nBcc: eve@evil.example"},
        {"list_id": "<a>\r\nBcc: eve@evil.example"},
    ],
)
def test_a_line_break_can_not_make_a_header_or_a_command(forged, settings, post_office, start):
    post = post_office("starttls")
    hook = start("mail-smtp", settings | {"port": post.port})
    assert hook.carry(MAIL | forged)["verdict"] == "failed"
    assert hook.carry(MAIL)["verdict"] == "carried"
    ((_, recipients, mail),) = post.mails
    assert (recipients, mail["Bcc"]) == (["ann@firm.example"], None)


def test_the_password_can_come_from_a_credential_but_not_from_a_file_for_everyone(
    settings, post_office, start, tmp_path: Path
):
    post = post_office("starttls", log_in=True)
    secret = tmp_path / "smtp-password"
    secret.write_text("sesame\n")
    secret.chmod(0o640)
    known = settings | {"port": post.port, "user": "fx", "password_file": "smtp-password", "credentials": str(tmp_path)}
    assert start("mail-smtp", known).carry(MAIL)["verdict"] == "carried"
    secret.chmod(0o644)
    answer = start("mail-smtp", known).carry(MAIL)
    assert (answer["verdict"], "chmod 600" in answer["reason"]) == ("stop", True)


@pytest.mark.parametrize("lacking", [{"host": None}, {"security": "ssl"}])
def test_settings_that_can_not_work_are_said_in_the_reason(lacking, settings, start):
    answer = start("mail-smtp", settings | lacking).carry(MAIL)
    assert answer["verdict"] == "stop"
    assert next(iter(lacking)) in answer["reason"]


def test_it_ends_without_a_word_with_its_input_and_on_sigterm(settings, post_office, start):
    post = post_office("starttls")
    hook = start("mail-smtp", settings | {"port": post.port})
    hook.carry(MAIL)
    assert hook.end() == (0, "")
    hook = start("mail-smtp", settings | {"port": post.port})
    hook.carry(MAIL)
    hook.process.send_signal(signal.SIGTERM)
    assert hook.end() == (0, "")
