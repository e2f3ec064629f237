"""`terrace provision`: prepare machines. One sub-app per subject; add another with `app.add_typer`."""

from __future__ import annotations

import typer

from provisioning.line import cli as line
from provisioning.pki import cli as pki
from provisioning.sources import cli as sources

app = typer.Typer(help="Issue certificates and prepare machines.", no_args_is_help=True)
app.add_typer(pki.app, name="pki")
app.add_typer(line.app, name="line")
app.add_typer(sources.app, name="data")
