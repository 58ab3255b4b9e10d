"""All routes of the portal, on one page."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.routing import Route

from fxsftp.fronts.desk import Desk
from fxsftp.fronts.portal.callbacks import TwilioCallback


@dataclass(frozen=True)
class Terms:
    """How the portal is reached from outside, and by what its callers prove who they are.  No token: no such caller."""

    public_url: str
    twilio_token: str = ""


def portal(desk: Desk, terms: Terms) -> Starlette:
    """The portal over one exchange."""
    routes: list[Route] = []
    if terms.twilio_token:
        twilio = TwilioCallback(desk, terms.twilio_token, f"{terms.public_url}/callbacks/twilio")
        routes.append(Route("/callbacks/twilio/{notice_id}", twilio.take, methods=["POST"]))
    return Starlette(routes=routes)
