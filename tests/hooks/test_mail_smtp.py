"""hooks/mail-smtp against a real mail server on loopback."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

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
    post.to_data = "hang up"
    assert hook.carry(MAIL)["verdict"] == "later"
    post.to_data = "250 OK"
    assert hook.carry(MAIL)["verdict"] == "carried"
    assert len(post.callers) == 2
    assert len(post.mails) == 4


def test_a_server_without_starttls_gets_neither_mail_nor_password(settings, post_office, start):
    post = post_office("none")
    hook = start("mail-smtp", settings | {"port": post.port, "user": "fx", "password": "sesame"})
    answer = hook.carry(MAIL)
    assert (answer["verdict"], answer["reason"]) == ("later", "the mail server offers no STARTTLS")
    assert not post.callers


def test_a_password_does_not_travel_in_clear(settings, post_office, start):
    post = post_office("none")
    plain = settings | {"port": post.port, "security": "none"}
    assert start("mail-smtp", plain).carry(MAIL)["verdict"] == "carried"
    answer = start("mail-smtp", plain | {"user": "fx", "password": "sesame"}).carry(MAIL)
    assert (answer["verdict"], "clear" in answer["reason"]) == ("later", True)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_that_nobody_vouches_for_is_refused_unless_said_otherwise(security, settings, post_office, start):
    post = post_office(security)
    unknown = settings | {"ca_file": None, "port": post.port, "security": security}
    answer = start("mail-smtp", unknown).carry(MAIL)
    assert (answer["verdict"], "issuer certificate" in answer["reason"]) == ("later", True)
    answer = start("mail-smtp", settings | {"host": "127.0.0.1", "port": post.port, "security": security}).carry(MAIL)
    assert (answer["verdict"], "127.0.0.1" in answer["reason"]) == ("later", True)
    assert start("mail-smtp", unknown | {"verify": False}).carry(MAIL)["verdict"] == "carried"


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


@pytest.mark.parametrize(("code", "verdict"), [("452 full", "later"), ("554 spam", "failed"), ("530 log in", "later")])
def test_a_refused_content_is_sorted_by_the_servers_code(code, verdict, settings, post_office, start):
    post = post_office("starttls")
    post.to_data = code
    hook = start("mail-smtp", settings | {"port": post.port})
    assert hook.carry(MAIL)["verdict"] == verdict
    post.to_data = "250 OK"
    assert hook.carry(MAIL)["verdict"] == "carried"


def test_a_wrong_password_can_be_mended_so_it_means_later(settings, post_office, start):
    post = post_office("starttls", log_in=True)
    answer = start("mail-smtp", settings | {"port": post.port, "user": "fx", "password": "wrong"}).carry(MAIL)
    assert (answer["verdict"], "535" in answer["reason"]) == ("later", True)
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
    assert (answer["verdict"], "chmod 600" in answer["reason"]) == ("later", True)


@pytest.mark.parametrize("lacking", [{"host": None}, {"security": "ssl"}])
def test_settings_that_can_not_work_are_said_in_the_reason(lacking, settings, start):
    answer = start("mail-smtp", settings | lacking).carry(MAIL)
    assert answer["verdict"] == "later"
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
