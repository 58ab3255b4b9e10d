"""Reasons: each sentence of ours is found again in whatever it became, and nothing else is."""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from fxsftp import errors, exchange, scanners, shipped
from fxsftp.domain import reasons
from fxsftp.templates import WORDS

PACKAGE = Path(exchange.__file__).parent
SAMPLES = {"count": "7", "least": "8", "who": "ann@firm.example", "list": "MD5SUMS", "kind": "ssh-rsa"}


def shouted(reason: str) -> str:
    """Put into 'other words': what is a sentence of ours, loud, and what is not, as it was."""
    return reasons.said(reason, lambda text: re.sub(r"%\(\w+\)s|\w", lambda m: m[0] if "%" in m[0] else "#", text))


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("there is nothing in it but checksums", "##### ## ####### ## ## ### #########"),
        ("ann@firm.example has not registered yet", "ann@firm.example ### ### ########## ###"),
        ("the number is not in use (Twilio 30005)", "### ###### ## ### ## ### (Twilio 30005)"),
        ("no connection to the mail server: timed out", "## ########## ## ### #### ######: timed out"),
        ("the mail server answered 550 5.1.1 no such user", "### #### ###### ######## 550 5.1.1 no such user"),
        (
            "a@b.example can't receive now; ask the operator; c@d.example has not registered yet",
            "a@b.example ###'# ####### ###; ### ### ########; c@d.example ### ### ########## ###",
        ),
        (
            "nobody in the group g@ssb.example can receive now; a@b.example has not registered yet",
            "###### ## ### ##### g@ssb.example ### ####### ###; a@b.example ### ### ########## ###",
        ),
        (
            "a: b.zip: is encrypted, and so can't be scanned (Heuristics.Encrypted.Zip)",
            "a: b.zip: ## #########, ### ## ###'# ## ####### (Heuristics.Encrypted.Zip)",
        ),
        (
            "x.com: clamd found Eicar. Remove the file, or put a clean one in its place",
            "x.com: clamd ##### Eicar. ###### ### ####, ## ### # ##### ### ## ### #####",
        ),
        (
            "100% (50%)s was damaged on the exchange's disk; put it again",
            "100% (50%)s ### ####### ## ### ########'# ####; ### ## #####",
        ),
    ],
)
def test_a_sentence_of_ours_is_put_into_other_words_and_what_stands_in_it_is_not(reason: str, said: str) -> None:
    assert shouted(reason) == said
    assert reasons.said(reason, str) == reason


@pytest.mark.parametrize(
    "reason", ["", "because", "a; b: c (d)", "550 5.1.1 no such user", "see you (later)", "%s %(a)s"]
)
def test_what_others_say_stays_as_it_was(reason: str) -> None:
    assert shouted(reason) == reason


def sentences_of(path: Path) -> set[str]:
    """Those that a module holds drops for: in `Held("cause", …)`, in what it calls a reason, in what it answers."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id="Held"), args=[_, ast.Constant() | ast.JoinedStr() as text]):
                found.add(_sample(text))
            case ast.Return(value=ast.Constant(value=str()) | ast.JoinedStr() as text):
                found.add(_sample(text))
            case ast.Assign(targets=[ast.Name(id="reason")], value=ast.JoinedStr() as text):
                found.add(_sample(text))
    return {each for each in found if " " in each and "'" not in each.split(" ")[0]}


def _sample(text: ast.Constant | ast.JoinedStr) -> str:
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in parts)


@pytest.mark.parametrize("name", ["dispatch", "manifest"])
def test_every_sentence_for_which_a_drop_is_held_is_one_of_them(name: str) -> None:
    found = sentences_of(PACKAGE / f"{name}.py")
    assert len(found) >= 5
    assert [each for each in found if not reasons.is_known(each)] == []


def test_what_is_said_of_scanners_is_one_of_them() -> None:
    found = sentences_of(Path(scanners.__file__))
    assert len([each for each in found if reasons.is_known(each)]) == 2
    assert [each for each in found if not reasons.is_known(each) and ("scanner" in each or "found" in each)] == []


def test_every_error_of_twilio_that_a_sender_may_see_is_one_of_them() -> None:
    hook = runpy.run_path(str(shipped.folder("hooks") / "sms-twilio"))
    assert [each for table in ("LATER", "FAILED") for each in hook[table].values() if not reasons.is_known(each)] == []


# What errors tell beside their own sentences: of which those need no translation that no page of the portal can show.
ELSEWHERE = {
    "dispatch.py": "of 'ssh … send'",
    "outbox.py": "of files by SFTP",
    "format.py": "of age's own keys, which settings name",
}
OPERATORS = {  # said to who types 'fxsftp user' or 'fxsftp group', and to who reads the log
    "7 is 7 already",
    "7 is invited and has not registered; use 'fxsftp user add'",
    "a group can't be a member of a group",
    "7 is a 7, not a group",
    "this process does not hold the house key",
    "this process does not reach the vault",
    "it is not an age1… recipient",
}
NOT_SHOWN = ("NoticeOver", "ClockDoubt", "NewerStore", "NotAge", "Forged", "BadIdentity", "CannotHash", "NoSuchPlace")


def told_by(path: Path) -> Iterator[tuple[str, str]]:
    """Each error that a module raises with words of its own, and the words."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args) if is_error(name):
                yield from ((name, _sample(each)) for each in args if isinstance(each, ast.Constant | ast.JoinedStr))
            case ast.Return(value=ast.Constant(value=str()) | ast.JoinedStr() as text) if path.name == "locks.py":
                yield "BadKey", _sample(text)


def is_error(name: str) -> bool:
    kind = getattr(errors, name, None)
    return isinstance(kind, type) and issubclass(kind, errors.FxError) and name not in NOT_SHOWN


ROOT = PACKAGE.parent
MODULES = [path for floor in ("exchange", "domain", "seal", "fronts/portal") for path in (ROOT / floor).glob("*.py")]


@pytest.mark.parametrize("path", [path for path in MODULES if path.name not in ELSEWHERE], ids=lambda path: path.name)
def test_whatever_an_error_tells_on_a_page_is_one_of_them(path: Path) -> None:
    """In each module that the portal reaches; what is no sentence and no word, as '?', needs none."""
    found = {(name, text) for name, text in told_by(path) if " " in text or name in ("WrongState", "BadText")}
    known = WORDS.keys() | OPERATORS
    assert [each for each in found if each[1] not in known and not reasons.is_known(each[1])] == []


def test_no_words_of_a_stranger_take_long() -> None:
    for text in ("; : (" * 4000, "a: b (" * 4000, "; ask the operator" * 1000):
        assert reasons.said(text[:4000], str) == text[:4000]
        assert reasons.argument(text[:4000], str) == text[:4000]


def test_no_sentence_hides_another() -> None:
    for say, sentences in ((reasons.said, reasons.SENTENCES), (reasons.argument, reasons.ARGUMENTS)):
        for sentence in sentences:
            sample = re.sub(r"%\((\w+)\)s", lambda found: SAMPLES.get(found[1], "x.csv"), sentence)
            heard: list[str] = []
            say(sample, lambda text, heard=heard: heard.append(text) or text)  # type: ignore[misc]
            assert heard == [sentence]
