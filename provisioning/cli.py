"""`terrace provision`: prepare machines. One sub-app per subject; add another with `app.add_typer`."""

from __future__ import annotations

import typer

from provisioning.pki import cli as pki

app = typer.Typer(help="Issue certificates and prepare machines.", no_args_is_help=True)
app.add_typer(pki.app, name="pki")
