"""hooks/mail-spool and hooks/sms-spool: the demo's mailbox and phone."""

from __future__ import annotations

from email.parser import BytesParser
from email.policy import SMTP

import pytest

MAIL = {
    "id": "n-1",
    "way": "mail",
    "to": "ann@firm.example",
    "from": "exchange@ssb.example",
    "subject": "Ny pakke på Åsen",
    "text": "Blåbærsyltetøy\n",
    "headers": {"Content-Language": "nb"},
    "attempt": 1,
}
SMS = {"id": "n-2", "way": "sms", "to": "+4790000000", "text": "SSB: Koden er …", "attempt": 1}


def facts(tmp_path, demo):
    return {"demo": demo, "state": str(tmp_path / "state"), "institution": "Statistisk sentralbyrå"}


def test_a_mail_becomes_an_eml_file_for_its_owner_only(tmp_path, start):
    answer = start("mail-spool", facts(tmp_path, True)).carry(MAIL)
    assert (answer["verdict"], answer["reference"]) == ("carried", "n-1.eml")
    (path,) = (tmp_path / "state/spool/mail").iterdir()
    mail = BytesParser(policy=SMTP).parsebytes(path.read_bytes())
    assert (mail["To"], mail["Subject"], mail.get_content().split()) == (
        MAIL["to"],
        MAIL["subject"],
        MAIL["text"].split(),
    )
    assert mail["From"] == "Statistisk sentralbyrå <exchange@ssb.example>"
    assert mail.defects == []
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0


def test_a_mail_with_html_has_both_parts_and_a_mail_program_shows_them(tmp_path, start):
    texts = {"plain": "Blåbær\n--\nsyltetøy\n", "html": "<p>Blåbær</p>\n"}
    message = MAIL | {"text": texts["plain"], "html": texts["html"]}
    assert start("mail-spool", facts(tmp_path, True)).carry(message)["verdict"] == "carried"
    content = (tmp_path / "state/spool/mail/n-1.eml").read_bytes()
    mail = BytesParser(policy=SMTP).parsebytes(content)
    assert mail.get_content_type() == "multipart/alternative"
    assert [each.get_content_subtype() for each in mail.iter_parts()] == list(texts)
    assert {kind: mail.get_body((kind,)).get_content().split() for kind in texts} == {
        kind: text.split() for kind, text in texts.items()
    }
    assert (mail["Content-Language"], mail.defects) == ("nb", [])
    assert content.count(b"\n") == content.count(b"\r\n")
    assert "Blåbær".encode() in content


def test_an_sms_becomes_a_text_file_for_its_owner_only(tmp_path, start):
    hook = start("sms-spool", facts(tmp_path, True))
    assert hook.carry(SMS)["verdict"] == "carried"
    assert hook.carry(SMS | {"attempt": 2})["verdict"] == "carried"
    (path,) = (tmp_path / "state/spool/sms").iterdir()
    assert path.read_text() == "To: +4790000000\n\nSSB: Koden er …\n"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("program", "message"), [("mail-spool", MAIL), ("sms-spool", SMS)])
@pytest.mark.parametrize("demo", [False, None, "true", 1])
def test_outside_a_demo_nothing_is_written(program, message, demo, tmp_path, start):
    answer = start(program, facts(tmp_path, demo)).carry(message)
    assert (answer["verdict"], "demo only" in answer["reason"]) == ("failed", True)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(("program", "message"), [("mail-spool", MAIL), ("sms-spool", SMS)])
@pytest.mark.parametrize("name", ["../n", ".n", "a/b", "", "n\n"])
def test_an_id_that_would_lead_elsewhere_is_refused(program, message, name, tmp_path, start):
    assert start(program, facts(tmp_path, True)).carry(message | {"id": name})["verdict"] == "failed"
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize(("program", "message"), [("mail-spool", MAIL), ("sms-spool", SMS)])
def test_what_can_not_be_written_is_tried_later(program, message, tmp_path, start):
    (tmp_path / "state").write_text("a file where a folder should be")
    hook = start(program, facts(tmp_path, True))
    assert hook.carry(message)["verdict"] == "later"
    assert hook.end() == (0, "")


def test_a_forged_header_is_refused(tmp_path, start):
    assert start("mail-spool", facts(tmp_path, True)).carry(MAIL | {"subject": "a\nBcc: b@c"})["verdict"] == "failed"
