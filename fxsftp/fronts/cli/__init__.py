"""The command line: the admin's half here, the partner's half in `partner`.

`build` puts the commands together around what the wiring gives it; nothing here knows how an exchange is opened.
One line when it went well, nothing when nothing is new, reasons on stderr.  The exit status is for programs:

    0   done
    1   refused, with the reason
    2   wrong usage or settings
    3   temporary: the same command may succeed later
"""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from fxsftp import __version__
from fxsftp.fronts.cli import access, bounce, demo, groups, notices, partner, service, shipments, users
from fxsftp.fronts.cli.clerk import Clerk, Wiring, WithSettings, shielded

__all__ = ["Wiring", "build", "run"]


class _Desk(WithSettings, click.Group):
    """The outermost command, at which everything that went wrong becomes one line and an exit status."""

    def invoke(self, ctx: click.Context) -> object:
        return shielded(super().invoke, ctx)


def build(wiring: Wiring) -> click.Group:
    """The command `fxsftp` over one way of opening an exchange."""

    @click.group(cls=_Desk, context_settings={"help_option_names": ["-h", "--help"]})
    @click.version_option(__version__, prog_name="fxsftp", message="%(prog)s %(version)s")
    @click.pass_context
    def fxsftp(ctx: click.Context) -> None:
        """A shipment exchange over SFTP: what a partner drops is sealed and opens for its recipient only."""
        ctx.ensure_object(Clerk).wiring = wiring

    for command in (*service.COMMANDS, access.user, users.key, groups.group, shipments.shipment, notices.notice):
        fxsftp.add_command(command)
    fxsftp.add_command(bounce.bounce)
    for command in (*partner.COMMANDS, *demo.COMMANDS):
        fxsftp.add_command(command)
    return fxsftp


def run(command: click.Group) -> NoReturn:
    """Do what the command line says, and leave with the status that says how it went."""
    command.main(prog_name="fxsftp")
    sys.exit(0)
