"""Templates: every notice by every way in every language, and the catalogues that they need."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from fxsftp import errors, settings, shipped
from fxsftp.domain import ids
from fxsftp.domain.notices import SORTS
from fxsftp.errors import BadTemplate
from fxsftp.templates import LANGUAGES, WORDS, Institution, Message, Templates, spoken

CONFIG = shipped.folder("config")
MAILS = sorted(path.stem for path in (CONFIG / "templates/mail").glob("[!_]*.txt"))
KINDS = {
    "arrived", "collected", "held", "reminder", "recalled", "removed_unread", "expired_unread", "wrong_codes",
    "not_delivered", "invited", "changed", "unfinished", "quota", "digest", "test",
    "password_link", "locked",
}  # fmt: skip
CODE = "7k3f-q2mp-0abc-defg"
TOKEN = "0123456789abcdefghjkmnpqrstvwxyz"
PORTAL = "https://portal.ssb.example"
SUBJECT = "Ref 23-4567"
INSTITUTION = Institution(
    "Statistisk sentralbyrå AS", "help@ssb.example", "+47 21 09 00 00", "fx.ssb.example", 2222, portal=PORTAL
)
FACTS = {
    "user": "ann@firm.example",
    "shipment": "7k3f-q2mp",
    "folder": "2026-11-22_7k3f-q2mp_Ref-23-4567",
    "sender": "kari@ssb.example",
    "sender_name": "Kari Nordmann",
    "subject": SUBJECT,
    "files": 3,
    "size": 1_234_567,
    "expires": 1_797_975_000.0,  # 22 December 2026
    "lock": "code",
    "direct": True,
    "first_file": "report.csv",
    "recipient": "bob@firm.example",
    "reason": "the reason why",
    "cause": "manifest",
    "what": "sms",
    "days": 7,
    "phone_hint": "…00",
    "phrase": "",
    "used": 41_000_000_000,
    "quota": 50_000_000_000,
    "token": TOKEN,
    "until": 1_795_377_200.0,
    "minutes": 15,
}
FACTS["items"] = [{"kind": "arrived", **FACTS}, {"kind": "collected", **FACTS}]
LETTER = FACTS | {
    "message": "Hello Ann,\nhere it is.",
    "sent": 1_795_370_000.0,
    "files": [{"name": "report.csv", "size": 12}, {"name": "sub/Ånd.csv", "size": 5_000_000}],
    "is_open": False,
}
RECEIPT = FACTS | {
    "state": "waiting",
    "reason": "",
    "made": 1_795_360_000.0,
    "sent": 1_795_370_000.0,
    "ended": None,
    "deliveries": [
        {"recipient": "bob@firm.example", "state": "opened", "lock": "code", "opened": 1_795_380_000.0,
         "collected": None, "ended": None},
    ],
    "files": [{"name": "report.csv", "size": 12, "sha256": "ab" * 32}],
    "notices": [{"to": "bob@firm.example", "way": "mail", "state": "carried", "reason": ""}],
    "history": [{"at": 1_795_360_000.0, "event": "began", "who": "kari@ssb.example", "detail": ""}],
}  # fmt: skip

# https://www.3gpp.org/dynareport/23038.htm, the basic table; what is in its extension takes two places.
GSM7 = set(settings.GSM)


@pytest.fixture(scope="module")
def templates() -> Templates:
    return Templates([], INSTITUTION)


def mail(templates: Templates, kind: str, language: str = "en", **facts: object) -> Message:
    return templates.render(kind, "mail", language, FACTS | facts)


# ---- each of them --------------------------------------------------------------------------------


def test_there_is_a_template_for_each_kind_of_notice_by_each_of_its_ways():
    assert set(MAILS) == KINDS
    for way, names in (("mail", set(MAILS)), ("sms", {path.stem for path in (CONFIG / "templates/sms").glob("*.txt")})):
        assert names == {kind for kind, sort in SORTS.items() if way in sort.ways}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", MAILS)
def test_a_mail_has_a_subject_the_institutions_facts_and_never_a_code(kind, language, templates):
    """A code given by mistake is not said, for no template of a mail has a place for it."""
    said = mail(templates, kind, language, code=CODE)
    assert said.subject
    assert "\n" not in said.subject
    for fact in (INSTITUTION.name, INSTITUTION.support_mail, INSTITUTION.support_phone):
        assert fact in " ".join(said.text.split())
    assert CODE not in said.subject + said.text
    assert not any(ids.is_code_shaped(word) and ids.normal_code(word) for word in said.text.split())
    assert not re.search(r"[{}]|%\(|undefined|None", said.text, re.IGNORECASE)
    assert said.html is not None
    html = said.html.replace(f"{PORTAL}/", "")
    assert not re.search(r"<(img|script|style|link|iframe|form)|https?:|src=|undefined|None", html)
    assert CODE not in said.html
    assert words(said.html) == words(f"{said.subject} {said.text}")
    assert all(len(line) <= 76 for line in said.text.splitlines() if not line.startswith(" "))
    assert "\n\n\n" not in said.text


def words(text: str) -> list[str]:
    return unescape(re.sub(r"<[^>]*>", " ", text)).split()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", MAILS)
def test_every_mail_shows_the_phrase_of_its_reader_and_a_link_in_it_carries_no_log_in(kind, language, templates):
    said = mail(templates, kind, language, phrase="blå <flodhest> & 7")
    assert "\n    blå <flodhest> & 7\n" in said.text
    assert "<pre>blå &lt;flodhest&gt; &amp; 7</pre>" in said.html
    assert "flodhest" not in mail(templates, kind, language).text
    assert re.findall(r"sftp://([^@]*)@", said.text) == ["ann%40firm.example"] * said.text.count("sftp://")
    assert said.html.count("href=") == said.text.count("://")


@pytest.mark.parametrize(("kind", "path"), [("invited", "welcome"), ("password_link", "password")])
def test_a_mail_with_a_link_to_the_portal_shows_it_once_and_alone_in_its_line(kind, path, templates):
    said = mail(templates, kind)
    link = f"{PORTAL}/{path}/{TOKEN}"
    assert f"\n    {link}\n" in said.text
    assert f'<p><a href="{link}">{link}</a></p>' in said.html
    assert said.text.count(TOKEN) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_other_mail_and_no_sms_has_a_place_for_the_token_of_a_link(language, templates):
    for kind, sort in SORTS.items():
        for way in sort.ways:
            said = templates.render(kind, way, language, FACTS | {"code": CODE, "what": "phone"})
            assert (TOKEN in said.subject + said.text) is (sort.carries == "link"), (kind, way)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("sender", ["kari@ssb.example", ""])
def test_where_there_is_no_portal_an_invitation_says_whom_to_call(language, sender):
    facts = FACTS | {"token": "", "until": None, "sender": sender, "sender_name": ""}
    said = Templates([], replace(INSTITUTION, portal="")).render("invited", "mail", language, facts)
    assert "http" not in said.text
    assert "SFTP" in said.text
    assert INSTITUTION.support_phone in said.text
    assert ("kari@ssb.example" in said.text) is bool(sender)


@pytest.mark.parametrize("kind", ["arrived", "reminder", "recalled", "wrong_codes", "digest"])
def test_a_mail_says_neither_sender_nor_subject_where_policy_hides_them(kind, templates):
    hidden = dict.fromkeys(("sender", "sender_name", "subject", "first_file"), "")
    hidden |= {"folder": "7k3f-q2mp", "items": [{"kind": "arrived", **FACTS, **hidden}]}
    said = mail(templates, kind, "en", **hidden)
    assert "kari" not in (said.subject + said.text).casefold()
    assert "23-4567" not in said.subject + said.text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", sorted(kind for kind, sort in SORTS.items() if "sms" in sort.ways))
@pytest.mark.parametrize("what", ["password", "phone", "delivery", "key", "totp", "recovery", "recovery_used"])
def test_every_sms_is_one_part_of_gsm_7_bit_without_link_or_subject(kind, what, language, templates):
    said = templates.render(kind, "sms", language, FACTS | {"code": CODE, "what": what})
    assert (said.subject, said.html) == ("", None)
    assert set(said.text) <= GSM7
    assert len(said.text) <= 160
    assert not re.search(r"://|www|@|fx\.ssb", said.text)
    assert SUBJECT not in said.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sms_has_room_for_the_longest_name_that_the_settings_take(language):
    """And not for one letter more: what they refuse, they have to refuse."""
    named = replace(INSTITUTION, name="Sámi " * 20, sms_name="x" * settings.SMS_NAME)
    whats = ["password", "phone", "delivery", "key", "totp", "recovery", "recovery_used"]
    kinds = [kind for kind, sort in SORTS.items() if "sms" in sort.ways]
    sizes = [
        len(Templates([], named).render(kind, "sms", language, FACTS | {"code": CODE, "what": what}).text)
        for kind in kinds
        for what in whats
    ]
    assert max(sizes) <= 160
    assert language != "nn" or max(sizes) == 160


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_sms_has_the_code_and_neither_link_nor_subject_and_is_one_part_long(language, templates):
    """160 letters of GSM 7 bit, with an institution's name of 25."""
    assert len(INSTITUTION.name) == 25
    said = templates.render("code", "sms", language, FACTS | {"code": CODE})
    assert (said.subject, said.html) == ("", None)
    assert all(fact in said.text for fact in (INSTITUTION.name, FACTS["shipment"], CODE))
    assert not re.search(r"://|www|@|fx\.ssb", said.text)
    assert SUBJECT not in said.text
    assert set(said.text) <= GSM7
    assert len(said.text) <= 160
    assert {"en": "log in", "nb": "logge inn", "nn": "logge inn"}[language] in said.text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("name", "facts"), [("README.txt", FACTS), ("SHIPMENT.txt", LETTER), ("sent.txt", RECEIPT)])
@pytest.mark.parametrize("demo", [False, True])
def test_a_rooms_file_is_whole_in_each_language(name, facts, language, demo):
    said = Templates([], replace(INSTITUTION, demo=demo)).room(name, language, facts)
    assert INSTITUTION.name in said
    assert not re.search(r"[{}]|%\(|undefined|None", said, re.IGNORECASE)
    assert "\n\n\n" not in said
    assert said.endswith("\n")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_mail_of_a_demo_says_that_it_is_one(language):
    demo = Templates([], Institution("SSB", "help@ssb.example", "", "localhost", 2222, demo=True))
    words = {"en": "demonstration", "nb": "demonstrasjon", "nn": "demonstrasjon"}[language]
    assert all(words in mail(demo, kind, language).text for kind in MAILS)
    assert words in demo.room("README.txt", language, FACTS)


def test_the_mail_that_announces_has_the_subject_that_people_know(templates):
    said = {language: mail(templates, "arrived", language).subject for language in LANGUAGES}
    assert said == {"en": "New package is waiting", "nb": "En ny pakke venter", "nn": "Ei ny pakke ventar"}


@pytest.mark.parametrize(
    ("cause", "leaves_by_itself", "is_removed"),
    [("scanner", True, False), ("recipient", True, True), ("scan", False, True), ("manifest", False, True)],
)
def test_what_a_held_sender_is_told_fits_the_cause(cause, leaves_by_itself, is_removed, templates):
    said = mail(templates, "held", cause=cause).text
    assert ("leaves by itself" in said) == leaves_by_itself
    assert ("removed after some days" in " ".join(said.split())) == is_removed


def test_a_reason_is_said_in_the_language_of_the_reader_as_far_as_it_is_ours(templates):
    number = "the number is not in use (Twilio 30005)"
    assert number in mail(templates, "not_delivered", reason=number).text
    assert "nummeret er ikke i bruk (Twilio 30005)" in mail(templates, "not_delivered", "nb", reason=number).text
    held = mail(templates, "held", "nn", reason="ola@firm.example has not registered yet", cause="recipient").text
    assert "ola@firm.example har ikkje registrert seg enno" in held
    theirs = "the mail server answered 550 no such user here"
    said = {**RECEIPT["notices"][0], "state": "failed", "reason": theirs}
    receipt = templates.room("sent.txt", "nb", RECEIPT | {"reason": "sent again", "notices": [said]})
    assert "e-posttjeneren svarte 550 no such user here" in receipt


# ---- links and commands --------------------------------------------------------------------------


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in text.splitlines() if re.match(r" +(sftp|age|ssh) ", line)]


def test_the_link_is_the_shipments_own_address_with_the_user_in_it(templates):
    assert (
        "sftp://ann%40firm.example@fx.ssb.example:2222/inbox/2026-11-22_7k3f-q2mp_Ref-23-4567\n"
        in mail(templates, "arrived").text
    )
    usual = Templates([], Institution("SSB", "", "", "fx.ssb.example"))
    odd = mail(usual, "arrived", user="o'hara+x/y@firm.example", folder="2026-11-22_7k3f-q2mp_Å-1").text
    assert "sftp://o%27hara%2Bx%2Fy%40firm.example@fx.ssb.example/inbox/2026-11-22_7k3f-q2mp_%C3%85-1\n" in odd


FOLDER = FACTS["folder"]
FETCH = ["sftp", "-r", "-P", "2222", f"ann@firm.example@fx.ssb.example:inbox/{FOLDER}", "."]


@pytest.mark.parametrize("kind", ["arrived", "reminder"])
@pytest.mark.parametrize(
    ("facts", "unlock"),
    [
        ({}, ["age", "-d", "-o", "report.csv", f"{FOLDER}/report.csv.age"]),
        ({"first_file": "sub/a b.csv"}, ["age", "-d", "-o", "a b.csv", f"{FOLDER}/sub/a b.csv.age"]),
        ({"first_file": ""}, ["age", "-d", "-o", "NAME", f"{FOLDER}/NAME.age"]),
        (
            {"direct": False, "first_file": ""},
            ["age", "-d", "-i", f"{FOLDER}/KEY.age", "-o", "NAME", f"{FOLDER}/NAME.age"],
        ),
        ({"lock": "keys"}, ["age", "-d", "-i", "~/.ssh/id_ed25519", "-o", "report.csv", f"{FOLDER}/report.csv.age"]),
        ({"lock": "session"}, None),
    ],
)
def test_the_mail_has_the_commands_that_fetch_and_open(kind, facts, unlock, templates):
    said = mail(templates, kind, **facts).text
    assert commands(said) == [FETCH, unlock] if unlock else [FETCH]
    assert ("SMS" in said) == (facts.get("lock", "code") == "code")
    assert ("NAME" in said) == (facts.get("first_file") == "")


@pytest.mark.parametrize(
    ("user", "host", "port"),
    [
        ("ann@firm.example", "fx.ssb.example", 2222),
        ("o'hara&x@firm.example", "fx.ssb.example", 22),
        ("ann@firm.example", "::1", 2222),
    ],
)
def test_openssh_reads_user_host_and_port_from_the_command_as_they_are_meant(user, host, port, tmp_path):
    """sftp runs a program in place of ssh, which shows what it was asked for."""
    spy = tmp_path / "ssh"
    spy.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "${0}.asked"\nexit 1\n')
    spy.chmod(0o755)
    said = mail(Templates([], Institution("SSB", "", "", host, port)), "arrived", user=user).text
    program, *arguments = commands(said)[0]
    subprocess.run([program, "-S", str(spy), *arguments], capture_output=True, cwd=tmp_path, timeout=30)
    asked = (tmp_path / "ssh.asked").read_text().splitlines()
    assert asked[asked.index("-l") + 1] == user
    assert asked[-2:] == [host, "sftp"]
    assert ("-oPort 2222" in asked) == (port == 2222)


def test_a_letter_says_how_its_files_open(templates):
    def opening(**facts):
        return commands(templates.room("SHIPMENT.txt", "en", LETTER | facts))

    at_host = ["ssh", "-p", "2222", "ann@firm.example@fx.ssb.example", "open", "7k3f-q2mp"]
    assert opening() == [["age", "-d", "-o", "report.csv", "report.csv.age"], at_host]
    assert opening(direct=False) == [["age", "-d", "-i", "KEY.age", "-o", "report.csv", "report.csv.age"], at_host]
    assert opening(lock="keys") == [["age", "-d", "-i", "~/.ssh/id_ed25519", "-o", "report.csv", "report.csv.age"]]
    assert opening(lock="session") == opening(is_open=True) == []


# ---- facts ---------------------------------------------------------------------------------------


def test_a_subject_that_policy_hides_has_no_row(templates):
    assert "Subject:" in mail(templates, "arrived").text
    assert "Subject:" not in mail(templates, "arrived", subject="").text


def test_dates_sizes_and_numbers_are_written_as_the_language_does(templates):
    assert "3 (1.2 MB)" in mail(templates, "arrived", "en").text
    assert "3 (1,2 MB)" in mail(templates, "arrived", "nb").text
    assert "22 December 2026" in mail(templates, "arrived", "en").text
    assert "22. desember 2026" in mail(templates, "arrived", "nn").text
    assert mail(templates, "reminder", "nb", days=1).subject.endswith("1 dag igjen")
    assert mail(templates, "reminder", "nb", days=7).subject.endswith("7 dager igjen")
    oslo = Templates([], Institution("SSB", "", "", "fx.ssb.example", timezone="Europe/Oslo"))
    assert "22. november 2026 kl. 18:53 CET" in oslo.room("SHIPMENT.txt", "nb", LETTER)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1 kB"), (999_949, "999.9 kB"), (999_950, "1 MB"),
        (5 * 10**15, "5,000 TB"),
    ],
)  # fmt: skip
def test_a_size_has_the_unit_that_fits(size, said, templates):
    assert f"({said})" in mail(templates, "arrived", size=size).text


@pytest.mark.parametrize("kind", MAILS)
def test_a_fact_can_not_pretend_to_be_a_header_or_a_line_of_ours(kind, templates):
    evil = "x\r\nBcc: all@firm.example\n\n    sftp -r evil \u202e\u2028gpj\x1b[31m"
    facts = dict.fromkeys(("subject", "sender", "sender_name", "recipient", "reason", "what", "first_file"), evil)
    said = mail(templates, kind, "en", **facts)
    assert "\n" not in said.subject
    assert not re.search("[\u202e\u2028\x1b\r]", said.subject + said.text)
    assert not re.search(r"^\s+(Bcc|sftp -r evil)", said.text, re.MULTILINE)


def test_a_letters_message_keeps_its_lines_but_is_set_apart_from_ours(templates):
    said = templates.room("SHIPMENT.txt", "en", LETTER | {"message": "one\ntwo\x1b"})
    assert "\n    one\n    two\n" in said


@pytest.mark.parametrize("fact", ["shipment", "sender", "expires", "lock", "user"])
def test_a_missing_fact_is_an_error_and_never_a_gap(fact, templates):
    facts = {name: value for name, value in FACTS.items() if name != fact}
    with pytest.raises(BadTemplate, match=fact):
        templates.render("arrived", "mail", "en", facts)


def test_a_fact_of_the_wrong_sort_is_an_error_that_does_not_show_it(templates):
    with pytest.raises(BadTemplate) as refused:
        mail(templates, "arrived", expires=CODE)
    assert CODE not in str(refused.value)


def test_there_is_no_template_for_what_is_not_a_notice(templates):
    with pytest.raises(BadTemplate, match=r"sms/arrived\.txt"):
        templates.render("arrived", "sms", "en", FACTS)
    with pytest.raises(BadTemplate):
        templates.render("../../fxsftp", "mail", "en", FACTS)


@pytest.mark.parametrize(
    ("asked", "language"),
    [("nb", "nb"), ("no", "nb"), ("nb_NO.utf8", "nb"), ("NN-no", "nn"), ("en-US", "en"), ("de", "en"), ("", "en")],
)
def test_who_asks_for_another_language_gets_the_nearest_or_english(asked, language):
    assert spoken(asked) == language


# ---- an installation's own -----------------------------------------------------------------------


def test_an_installations_own_template_comes_before_the_shipped_one_and_may_have_html(tmp_path: Path):
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail/recalled.txt").write_text('Subject: {{ _("New package is waiting") }}\n\n{{ subject }}')
    (tmp_path / "mail/recalled.html").write_text("<p>{{ subject }}</p>")
    own = Templates([tmp_path], INSTITUTION)
    said = mail(own, "recalled", "nb", subject="<b>&")
    assert said == Message("En ny pakke venter", "<b>&\n", "<p>&lt;b&gt;&amp;</p>")
    assert mail(own, "arrived") == mail(Templates([], INSTITUTION), "arrived")


@pytest.mark.parametrize(
    "text",
    [
        "no subject",
        "Subject: x\n{{ ''.__class__.__mro__ }}",
        "Subject: x\n{{ subject.__init__.__globals__ }}",
        "Subject: x\n{% include '/etc/passwd' %}",
        "Subject: x\n{{ broken",
        "Subject: x\n{{ 1 / 0 }}",
        "Subject: x\n{{ institution.secret }}",
    ],
)
def test_a_template_that_can_not_be_used_says_so_and_reaches_nothing_else(text, tmp_path):
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail/recalled.txt").write_text(text)
    with pytest.raises(BadTemplate):
        mail(Templates([tmp_path], INSTITUTION), "recalled")


# ---- catalogues ----------------------------------------------------------------------------------


def said_in_templates() -> set[object]:
    with (CONFIG / "locale/babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    found = set()
    for folder in (CONFIG, Path(shipped.__file__).parents[1]):
        keywords = {"_": None, "N_": None, "gettext": None, "ngettext": (1, 2)}
        for _, _, message, _, _ in extract_from_dir(folder, methods, options, keywords=keywords):
            found.add(message)
    return found


# What only operators, programs and SFTP clients ever hear; all other errors may stand on a page of the portal.
HEARD_ELSEWHERE = {
    "BadSettings", "NewerStore", "UnsafeFile", "UserUnknown", "KeyUnknown", "NoRecipient", "ReadOnly", "NotEmpty",
    "CrossRoom", "NoLinks", "NoCopies", "CannotHash", "NotReadable", "Rewritten", "ClockDoubt", "NotAge",
    "BadIdentity", "NoticeUnknown", "NoticeOver", "HookUnusable", "BadTemplate", "BadPacket", "BadHandle",
    "NotSupported", "CannotConnect", "LineBroken", "LoginRefused", "HostKeyUnknown", "HostKeyChanged", "NotOffered",
    "Refused", "BadAnswer", "UnsafeName", "SumMismatch", "ChangedMeanwhile", "NotSentYet", "CantRead", "CantWrite",
    "NothingToSend", "BadProfile", "TooManyOfYours", "HouseFull",
}  # fmt: skip


def said_by_errors() -> set[object]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.FxError)]
    assert {kind.__name__ for kind in kinds} >= HEARD_ELSEWHERE
    return {errors.sentence(kind) for kind in kinds if kind.__name__ not in HEARD_ELSEWHERE}


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"%\((\w+)\)s|(\{\d(?:!r)?\})", text))


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_a_catalogue_translates_all_that_is_said_and_nothing_else(language):
    path = CONFIG / "locale" / language / "LC_MESSAGES/fxsftp.po"
    with path.open("rb") as file:
        catalogue = read_po(file, locale=language, abort_invalid=True)
    translated = [message for message in catalogue if message.id]
    found = {message.id if isinstance(message.id, str) else tuple(message.id) for message in translated}
    assert found == said_in_templates() | said_by_errors()
    assert not catalogue.obsolete
    for message in translated:
        originals = message.id if message.pluralizable else [message.id]
        translations = message.string if message.pluralizable else [message.string]
        assert not message.fuzzy, message.id
        assert len(translations) == len(originals)
        for original, translation in zip(originals, translations, strict=True):
            assert translation, original
            assert placeholders(translation) == placeholders(original), original


def test_every_word_for_a_state_is_one_of_the_catalogues():
    assert set(WORDS.values()) <= said_in_templates()
