"""Whatever is refused is refused in the language of who asked, reason and all; what somebody typed stays as it is."""

from __future__ import annotations

import re

import pytest

from fxsftp import app
from fxsftp.domain.model import User
from fxsftp.errors import BadExpiry, BadName, BadText, FxError, NoNewCode, NoSuchPlace, Unavailable, WrongState
from tests.fronts.portal.test_send import begin
from tests.fronts.portal.test_tracking import send
from tests.gate import Gate, Visitor
from tests.house import ANN, KARI, House


@pytest.fixture
def kari(house: House) -> User:
    house.ann()
    return house.kari()


def speaking(gate: Gate, language: str) -> Visitor:
    house = gate.house
    house.exchange.people.change(KARI, house.clock(), language=language)
    return gate.logged_in(house.exchange.people.find(KARI))


REFUSED = [  # form, fields, and what is said of them in bokmål and nynorsk
    (
        "/send", {"to": ANN, "subject": "x" * 201},
        "Emnet kan ikke sendes slik: teksten er lengre enn 200 tegn.",
        "Emnet kan ikkje sendast slik: teksten er lengre enn 200 teikn.",
    ),
    (
        "/send", {"to": ANN, "message": "a\x01b"},
        "Meldingen kan ikke sendes slik: det er et kontrolltegn i teksten.",
        "Meldinga kan ikkje sendast slik: det er eit kontrollteikn i teksten.",
    ),
    (
        "/send", {"to": " , "},
        "Mottakerlisten kan ikke sendes slik: den er tom; oppgi minst én mottaker.",
        "Mottakarlista kan ikkje sendast slik: ho er tom; oppgje minst éin mottakar.",
    ),
    ("/send", {"to": "ann"}, "en e-postadresse må ha krøllalfa (@)", "ei e-postadresse må ha krøllalfa (@)"),
    (
        "/send", {"to": "a(b@c.example"},
        "foran krøllalfa (@) står det tegn som ikke kan være der: '('",
        "framfor krøllalfa (@) står det teikn som ikkje kan vere der: '('",
    ),
    ("/account", {"timezone": "Oslo"}, "det er ikke en tidssone", "det er ikkje ei tidssone"),
    ("/account", {"language": "nb", "phrase": "x" * 61}, "en frase er én linje på høyst 60", "ein frase er éi linje"),
    ("/account/keys", {"line": "-----BEGIN OPENSSH PRIVATE KEY-----"}, "det er en privat nøkkel", "ein privat nøkkel"),
    ("/account/keys", {"line": "ssh-ed25519 !!"}, "det andre ordet er ikke base64", "det andre ordet er ikkje base64"),
]  # fmt: skip


@pytest.mark.parametrize("language", ["nb", "nn"])
def test_the_reason_of_a_refusal_is_in_the_users_language(gate: Gate, kari: User, language: str) -> None:
    visitor = speaking(gate, language)
    assert kari.email == KARI
    for path, fields, bokmaal, nynorsk in REFUSED:
        visitor.get(path if path != "/account/keys" else "/account")
        page = visitor.post(path, **fields)
        assert page.status in (400, 409), (path, fields)
        assert {"nb": bokmaal, "nn": nynorsk}[language] in page.text, (path, fields)


@pytest.mark.parametrize("language", ["nb", "nn"])
def test_what_a_package_can_not_is_said_in_the_users_language(gate: Gate, kari: User, language: str) -> None:
    """In the page of what was sent, and in its receipt, which tells how it went."""
    visitor = speaking(gate, language)
    shipment = send(gate.house, kari, ANN)
    visitor.get(f"/sent/{shipment}")
    page = visitor.post(f"/sent/{shipment}/new-code", to=ANN)
    assert {"nb": "bare koden åpner den.", "nn": "berre koden opnar ho."}[language] in page.text
    visitor.post(f"/sent/{shipment}/recall")
    page = visitor.post(f"/sent/{shipment}/recall")
    assert page.status == 409
    assert page.text.count({"nb": "«trukket tilbake»", "nn": "«trekt tilbake»"}[language]) == 2
    assert not re.search(r"\b(recalled|waiting|opened|locked by|being changed)\b", page.text)


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (BadText("subject", "it is longer than 200 characters"), "Emnet kan ikke sendes slik"),
        (NoNewCode("7k3f-q2mp", "nothing but its code opens it. Recall it and send it again"), "bare koden åpner den"),
        (WrongState("7k3f-q2mp", "not locked by a code", "given a new code"), "«ikke låst med kode»"),
        (WrongState("7k3f-q2mp", "waiting", "opened by a new SMS"), "«venter på å bli hentet»"),
        (BadName("subject", "files of this name are never sent"), "'subject' kan ikke være et navn her: filer med"),
        (NoSuchPlace("no longer true"), "'no longer true'"),
        (Unavailable("the vault can't be used (EIO)"), "hvelvet kan ikke brukes (EIO)"),
        (BadExpiry("7k3f-q2mp", "2026-12-01", "2027-01-01"), "oppbevares til 2026-12-01"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_an_error_tells_is_translated_and_what_it_quotes_is_not(house: House, problem: FxError, said: str) -> None:
    assert said in app.templates_of(house.settings).sentence(problem, "nb")
    assert app.templates_of(house.settings).sentence(BadText("subject", "it is empty"), "en").startswith("The subject ")


def test_a_name_is_never_translated_on_a_page(gate: Gate, kari: User) -> None:
    visitor = speaking(gate, "nb")
    assert kari.email == KARI
    shipment = begin(visitor, subject="no longer true")
    assert "no longer true" in visitor.get(f"/send/{shipment}").text
