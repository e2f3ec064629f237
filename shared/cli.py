"""The `terrace` command: finds the tiers' sub-commands by entry point and turns errors into one line and an exit code.

shared/ imports no tier: a sub-command is loaded when it is asked for, and a tier whose extra is not installed says which one.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib import metadata

import click
import typer
from typer.main import get_command

from shared.errors import DependencyError, TerraceError

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime reports to its maker over HTTPS unless this is set before it is loaded
GROUP = "terrace.commands"
OWN_PACKAGES = ("edge", "region", "cloud", "shared", "provisioning")
SUMMARIES = {
    "edge": ("edge", "Run the device's agent and look at its state."),
    "region": ("region", "Serve a region: broker, expert, vault, training, relay."),
    "cloud": ("cloud", "Serve the cloud: rounds, foundry, releases, fleet."),
    "provision": ("provision", "Issue certificates and prepare machines."),
    "demo": ("all", "Run the whole system on this machine, as a story in five acts."),
    "model": ("cloud", "Import a model of your own, look at models and compare them."),
    "models": ("cloud", "Build the expert and the first student for a data set."),
    "hw": ("edge", "List and check hardware profiles."),
    "link": ("edge", "Look at a device's link to its region, and find out what is wrong with it."),
    "audit": ("region", "Check that an audit log is what was written."),
}


class _Commands(click.Group):
    """Sub-commands from the entry-point group, loaded one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [entry.name for entry in metadata.entry_points(group=GROUP)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        for entry in metadata.entry_points(group=GROUP):
            if entry.name == cmd_name:
                return _load(entry.name, entry.value)
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES.get(name, ("", ""))[1]) for name in self.list_commands(ctx)])


def _load(name: str, value: str) -> click.Command:
    module, _, attribute = value.partition(":")
    try:
        command = get_command(getattr(importlib.import_module(module), attribute))
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in OWN_PACKAGES:
            raise
        extra = SUMMARIES.get(name, (name, ""))[0]
        raise DependencyError(
            f"`terrace {name}` needs the Python package {error.name}, which is not installed.",
            f"Install it with: pip install 'terrace[{extra}]'",
        ) from error
    command.name = name
    return command


def _refuse_foreign_owner() -> None:
    """Refuse to start when another installed distribution owns one of our package names."""
    owners = metadata.packages_distributions()
    for package in OWN_PACKAGES:
        foreign = sorted(set(owners.get(package, [])) - {"terrace"})
        if foreign:
            raise DependencyError(
                f"the installed package {foreign[0]} also owns the name `{package}`.", "Install terrace in an environment of its own."
            )


def main() -> None:
    """Run the command line; errors become one line on standard error and their exit code."""
    group = _Commands(
        name="terrace",
        help="Edge-region-cloud deployment of vision models. `terrace demo` shows the whole system on this machine.",
        params=[click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version.")],
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    try:
        _refuse_foreign_owner()
        sys.exit(group.main(standalone_mode=False) or 0)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.exceptions.Exit, typer.Exit) as error:
        sys.exit(error.exit_code)
    except TerraceError as error:
        typer.echo(f"terrace: {error.message}", err=True)
        if error.remedy:
            typer.echo(f"  {error.remedy}", err=True)
        sys.exit(error.exit_code)


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    del param
    if value and not ctx.resilient_parsing:
        typer.echo(metadata.version("terrace"))
        ctx.exit()


if __name__ == "__main__":
    main()
