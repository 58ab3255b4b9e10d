"""The real processes: `fxsftp init`, `fxsftp serve`, and whoever carries, dies, restarts and stops."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fxsftp.domain.model import Kind
from tests.age_tool import age_decrypt
from tests.hooks.conftest import Post, Twilio
from tests.house import ANN, KARI, House
from tests.walks.guests import shipments_in, until
from tests.walks.served import Served, is_running, said

CSV = b"id;value\n" + b"7;3\n" * 50_000
LARGE = b"0123456789abcdef" * (1 << 18)  # 4 MiB
CODE = re.compile(r"\b[0-9a-z]{4}(?:-[0-9a-z]{4}){3}\b")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A new exchange, not yet started.  Whatever happens to it, no stack trace and no code stands in its log."""
    with Served(tmp_path / "exchange") as exchange:
        yield exchange
    assert "Traceback" not in exchange.log()
    assert not CODE.search(exchange.log())


def test_made_with_the_command_it_carries_one_mail_and_one_sms(tmp_path: Path) -> None:
    """`fxsftp init --demo`, `user add`, `serve`: the code from the SMS opens the file, and nobody is told twice."""
    with Served(tmp_path / "exchange") as served:
        shutil.rmtree(served.folder)  # which the fixture's class made without the command
        served.must("init", "--demo", str(served.folder), "--port", str(served.port))
        kari, ann = served.guest(KARI), served.guest(ANN)
        served.must("user", "add", KARI, "--kind", "member", "--key", f"{kari.key}.pub")
        served.must(
            "user", "add", ANN, "--kind", "partner", "--phone", "+4790000000", "--key", f"{ann.key}.pub",
            "--language", "nb",
        )  # fmt: skip
        served.serve()

        for name in ("a.csv", "b.csv", "c.csv"):
            kari.put(CSV, f"outbox/{ANN}/Ref 23-4567/{name}")
        until(lambda: served.mails(ANN) and served.sms())

        (mail,), (sms,) = served.mails(ANN), served.sms()
        shipment = shipments_in(sms)[0]
        fetched = ann.fetch(f"inbox/{shipment}")
        (code,) = CODE.findall(sms)
        assert age_decrypt(fetched / "b.csv.age", passphrase=code) == CSV
        assert mail["Subject"] == "En ny pakke venter"
        assert shipment in said(mail)
        assert not CODE.search(mail.as_string())
        assert "://" not in sms
        until(lambda: served.mails(KARI))
        listed = json.loads(served.must("shipment", "list", "--json").out)
        assert [each["state"] for each in listed] == ["collected"]
        until(lambda: all(notice.state == "carried" for notice in served.notices()))
        assert sorted((notice.kind, notice.way) for notice in served.notices()) == [
            ("arrived", "mail"),
            ("code", "sms"),
            ("collected", "mail"),
        ]


def test_the_two_commands_of_the_mail_fetch_and_open_it(served: Served) -> None:
    """Typed as they stand there, by a shell."""
    kari, ann = served.add(KARI, Kind.MEMBER), served.add(ANN, Kind.PARTNER)
    served.serve()
    kari.put(CSV, f"outbox/{ANN}/Ref 1/data.csv")
    until(lambda: served.mails(ANN) and served.sms())

    text = said(served.mails(ANN)[0])

    commands = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    (link,) = [line for line in commands if line.startswith("sftp://")]
    fetch, opens = (line for line in commands if line.startswith(("sftp ", "age ")))
    (folder,) = ann.ls("inbox")
    shipment = folder.split("_")[1]  # the folder's whole name would tell the subject
    assert link == f"sftp://ann%40firm.example@127.0.0.1:{served.port}/inbox/{shipment}"
    assert ann.typed(fetch).status == 0
    locked = shlex.split(opens)
    assert locked[:3] == ["age", "-d", "-o"]
    (code,) = CODE.findall(served.sms()[0])
    assert age_decrypt(ann.home / shipment / "data.csv.age", passphrase=code) == CSV


def test_mail_goes_by_smtp_with_starttls_and_log_in_and_the_code_by_twilio(
    post_office: Callable[..., Post], twilio: Twilio, ca_file: str, served: Served
) -> None:
    """One of each, through the hooks that are shipped; a password that opens nothing else is all they know."""
    post = post_office("starttls", log_in=True)
    served.secret("smtp-password", "sesame")
    served.secret("twilio-token", "token")
    served.settings(
        f"""
        [hook.mail-smtp]
        host = "localhost"
        port = {post.port}
        user = "exchange"
        password_file = "smtp-password"
        ca_file = "{ca_file}"
        [hook.sms-twilio]
        account_sid = "AC0123"
        auth_token_file = "twilio-token"
        from = "+15005550006"
        base_url = "{twilio.url}"
        ca_file = "{twilio.ca_file}"
        """
    )
    served.env |= {"FXSFTP_NOTIFY__MAIL": "smtp", "FXSFTP_NOTIFY__SMS": "twilio"}
    kari, ann = served.add(KARI, Kind.MEMBER), served.add(ANN, Kind.PARTNER)
    served.serve()

    kari.put(CSV, f"outbox/{ANN}/Ref 1/data.csv")
    until(lambda: post.mails and twilio.calls)

    ((_, receivers, mail),) = post.mails
    assert (receivers, mail["Subject"]) == ([ANN], "New package is waiting")
    assert post.log_ins == [("exchange", "sesame")]
    ((path, _, form),) = twilio.calls
    assert path == "/2010-04-01/Accounts/AC0123/Messages.json"
    assert form["To"] == "+4790000000"
    (code,) = CODE.findall(form["Body"])
    assert code not in mail.as_string()
    (folder,) = ann.ls("inbox")
    assert ann.ssh(f"open {folder}", f"{code}\n".encode()).status == 0
    assert ann.get(f"inbox/{folder}/data.csv") == CSV
    until(lambda: all(notice.state == "carried" for notice in served.notices()))
    assert twilio.answer[1]["sid"] in [notice.reference for notice in served.notices()]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("exit 7", "the hook mail-bad ended"),
        ("read line; read line; echo rubbish; cat", "something that is not JSON"),
        ("sleep 600", "no answer"),
        (None, "mail waits until this is mended"),
    ],
    ids=["dies", "answers rubbish", "hangs", "is writable by others"],
)
def test_a_bad_hook_costs_its_mail_a_while_and_no_sms(house: House, body: str | None, reason: str) -> None:
    """The notice waits with the reason, to be tried again; nothing about it stops the courier."""
    house.clock.now = time.time() - 400  # the courier has no other clock
    ann = house.ann()
    house.put(house.kari(), f"outbox/{ANN}/Ref 1/data.csv", CSV)
    house.settle()
    hooks = house.folder / "hooks"
    hooks.mkdir()
    hook = hooks / "mail-bad"
    hook.write_text(f"#!/bin/sh\n{body or 'cat'}\n")
    hook.chmod(0o755 if body else 0o777)
    with Served(house.folder) as served:
        served.env |= {"FXSFTP_NOTIFY__MAIL": "bad", "FXSFTP_NOTIFY__HOOKS": str(hooks)}
        served.env |= {"FXSFTP_NOTIFY__ANSWER_WITHIN": "1 s"}
        served.serve(only="courier", waits=False)

        until(served.sms)
        until(lambda: served.mail_notice().reason or "mail waits" in served.log())

        assert reason in served.mail_notice().reason + served.log()
        assert served.mail_notice().state == "due"
        assert served.stop() == 0
        assert "Traceback" not in served.log()
    assert len(house.inbox(ann)) == 1


def test_kill_9_in_the_middle_of_an_upload_loses_nothing(served: Served) -> None:
    """The supervisor starts the service again; `reput` goes on from what had arrived; the content is the same."""
    kari, ann = served.add(KARI, Kind.MEMBER), served.add(ANN, Kind.PARTNER)
    served.serve()
    old = served.child("sftp")
    remote = f"outbox/{KARI}/Ref 1/large.bin"
    client = ann.start(f'put {ann.file(LARGE, "large.bin")} "{remote}"', slowly=True)
    vault = served.folder / "state" / "vault"
    until(lambda: sum(path.stat().st_size for path in _files(vault)) > 300_000)

    os.kill(old, signal.SIGKILL)

    client.wait(60)
    until(served.answers)
    assert served.child("sftp") != old
    with ann.paramiko() as sftp:
        kept = sftp.stat(remote).st_size or 0
    assert 0 < kept < len(LARGE)
    assert kari.ls("inbox") == []
    assert ann.sftp(f'reput large.bin "{remote}"').status == 0
    until(lambda: kari.ls("inbox"))
    assert kari.get(f"inbox/{kari.ls('inbox')[0]}/large.bin") == LARGE


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_closed_survives_kill_9_of_everything(served: Served) -> None:
    """OK to CLOSE means durable: it leaves after the next start, and once."""
    kari, ann = served.add(KARI, Kind.MEMBER), served.add(ANN, Kind.PARTNER)
    served.env["FXSFTP_EXCHANGE__SETTLE_FOLDER"] = "3 s"
    served.serve()
    ann.put(CSV, f"outbox/{KARI}/Ref 1/data.csv")
    processes = [served.child("sftp"), served.child("courier")]
    assert served.process
    for pid in (served.process.pid, *processes):
        os.kill(pid, signal.SIGKILL)
    served.process.wait()

    served.serve()

    until(lambda: served.mails(KARI))
    assert [kari.get(f"inbox/{name}/data.csv") for name in kari.ls("inbox")] == [CSV]
    assert len(served.mails(KARI)) == 1


def test_sigterm_ends_all_with_status_0(served: Served) -> None:
    """And no process is left."""
    served.serve()
    children = served.children()
    assert len(children) >= 2

    assert served.stop() == 0

    until(lambda: not any(is_running(child) for child in children))


def test_kill_9_of_the_supervisor_leaves_no_child(served: Served) -> None:
    """They hear that it is gone."""
    process = served.serve()
    children = served.children()

    process.kill()
    process.wait()

    until(lambda: not any(is_running(child) for child in children))


def test_a_service_that_is_asked_to_stop_lets_an_upload_finish(served: Served) -> None:
    """Who has nothing open goes at once."""
    served.add(KARI, Kind.MEMBER)
    ann = served.add(ANN, Kind.PARTNER)
    served.serve()
    client = ann.start(f"put {ann.file(LARGE, 'large.bin')} outbox/{KARI}/Ref/large.bin", slowly=True)
    vault = served.folder / "state" / "vault"
    until(lambda: sum(path.stat().st_size for path in _files(vault)) > 300_000)

    assert served.stop() == 0

    assert client.wait(10) == 0
    assert [each.state for each in served.shipments()] == ["settling"]


def test_a_registry_of_a_newer_version_is_refused_and_not_changed(served: Served) -> None:
    """One clear line, and an exit status."""
    served.add(KARI, Kind.MEMBER)
    registry = served.folder / "state/registry/registry.db"
    with closing(sqlite3.connect(registry)) as db, db:
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('registry', '9999_later', '')"
        )
    with closing(sqlite3.connect(registry)) as db:
        before = list(db.iterdump())

    status = served.serve(waits=False).wait(60)

    said = served.log().splitlines()
    assert status == 1
    assert len(said) == 1, said
    assert "was written by a newer version of fxsftp (it knows '9999_later')" in said[0]
    with closing(sqlite3.connect(registry)) as db:
        assert list(db.iterdump()) == before


def test_an_unknown_setting_is_told_with_the_nearest_known_one(served: Served) -> None:
    """In one line, and with exit status 2."""
    settings = served.folder / "fxsftp.toml"
    settings.write_text(settings.read_text().replace("port =", "prot ="))

    status = served.serve(waits=False).wait(60)

    assert status == 2
    assert served.log().count("\n") == 1
    assert "there is no setting sftp.prot; did you mean sftp.port?" in served.log()


def test_a_port_in_use_ends_all_with_one_line(served: Served) -> None:
    """Nothing is tried again that can't come true."""
    with socket.create_server(("127.0.0.1", served.port)):
        status = served.serve(waits=False).wait(60)

    assert status == 1
    assert served.log().count("\n") == 1
    assert str(served.port) in served.log()
