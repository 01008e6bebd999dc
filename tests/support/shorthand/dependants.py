"""A gateway with dependants: its store, and the copies, hooks, signals and units that are served from it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.dependants import Content, Copy, Dependants, Format, Hooks, Occasion, Report, Signal, Unit
from agent.dependants.deployer import Deployer
from support.running.systemd import Systemctl

if TYPE_CHECKING:
    from pathlib import Path

    from support.running.systemd import Laid


NAME, OTHER = "mosquitto.service", "nginx.service"
PASSWORD = "correct horse 42"  # noqa: S105 - that is what it is


class House:
    """A gateway's directories, its systemd, and what is configured.

    Attributes:
        place: Where all of it is.
        directory: Where the report lies.
        copies: Those that are configured.
        units: Likewise.
        signals: Likewise.
        hooks: Where hooks are, whose they are and what becomes of a change.
        laid: The first set.
    """

    laid: Laid

    def __init__(self, place: Path) -> None:
        self.place = place
        self.state = place / "state"
        self.directory = place / "deploy"
        self.systemctl = Systemctl(place)
        self.copies: tuple[Copy, ...] = ()
        self.units: tuple[Unit, ...] = ()
        self.signals: tuple[Signal, ...] = ()
        self.hooks = Hooks(directory=place / "hooks.d")
        self.hooks.directory.mkdir()
        self.log = place / "log"
        self.log.touch()
        self.log.chmod(0o666)

    @property
    def deployer(self) -> Deployer:
        """Who serves them, as a fresh process would."""
        dependants = Dependants(copies=self.copies, hooks=self.hooks, signals=self.signals, units=self.units)
        return Deployer(dependants, self.state, self.directory, systemd=self.systemctl.systemd)

    def serve(self, occasion: Occasion = Occasion.AGAIN, *, afresh: bool = False) -> Report:
        """Serve them."""
        return self.deployer.serve(occasion, afresh=afresh)

    def hook(self, name: str, script: str = "") -> None:
        """Have a hook that writes its name down, and then does something."""
        path = self.hooks.directory / name
        path.write_text(f"#!/bin/sh\necho $(basename $0) >> {self.log}\n{script}\n")
        path.chmod(0o755)

    def unit(self, name: str = NAME, **values: str) -> None:
        """Have a unit that runs, and is looked at once."""
        self.systemctl.has(name, **values)
        self.units = (*self.units, Unit(name=name, healthy=timedelta(0)))

    def copy(self, name: str = "copy.pem", content: Content = Content.CHAIN, form: Format = Format.PEM) -> Path:
        """Have a copy, and return where."""
        to = self.place / name
        password = self.place / "password" if form is Format.PKCS12 else None
        self.copies = (*self.copies, Copy(to=to, content=content, format=form, password_file=password))
        return to

    @property
    def ran(self) -> list[str]:
        """The hooks that ran, and what else was written down."""
        return self.log.read_text().split()

    def problems(self, report: Report) -> dict[str, str]:
        """Return who does not use the set, and why."""
        return {step.name: step.problem for step in report.problems}
