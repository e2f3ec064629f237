"""The one error tree: split by who must act. Each class is one sentence, an exit code and, where raised, a remedy.

Foreign exceptions are translated once, at the boundary where they arise; what reaches a command line is always one of these.
Exit codes are listed in docs/operations.md; 0 is success, 1 is a defect in terrace itself, 2 is wrong usage of a command.
"""

from __future__ import annotations

from typing import ClassVar


class TerraceError(Exception):
    """Something terrace can explain: what happened and what to do about it.

    Args:
        message: one sentence saying what happened.
        remedy: one sentence saying what to do; empty when nobody can do anything.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class ConfigurationError(TerraceError):
    """A configuration key is missing, unknown or has a value it cannot have."""

    exit_code = 10


class InputError(TerraceError):
    """A picture, video, folder or data set given by the user cannot be used."""

    exit_code = 11


class IdentityError(TerraceError):
    """A certificate, key or anchor is missing, expired, foreign or does not belong here."""

    exit_code = 12


class StorageError(TerraceError):
    """A disk is full, read-only or holds a damaged spool, vault or registry."""

    exit_code = 13


class LinkError(TerraceError):
    """The other side cannot be reached, or a port is taken."""

    exit_code = 14


class TrustError(TerraceError):
    """A release, its metadata or an announcement is not what its signers signed."""

    exit_code = 15


class EngineError(TerraceError):
    """A model cannot be loaded or run by the engine this machine has."""

    exit_code = 16


class DependencyError(TerraceError):
    """A program or an optional extra that is needed is not installed."""

    exit_code = 17


class ProtocolError(TerraceError):
    """Bytes from the other side do not follow the protocol; the message is dropped and counted."""

    exit_code = 18


class FederationError(TerraceError):
    """A federated round cannot go on: no quorum, or an update that does not fit the model."""

    exit_code = 19


class AccessError(TerraceError):
    """A person or token may not do this."""

    exit_code = 20
