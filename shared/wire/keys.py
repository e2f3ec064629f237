"""The keys of one epoch: everything both sides derive from the one secret that opened it.

prk comes from `wire.epoch`; each key below is HKDF-Expand(prk, label) with a label of its own, so that no key serves two
purposes. The region's side has one key per sending instance (an intake worker's process), because counters are per sender.
"""

from __future__ import annotations

import struct

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

KEY_BYTES = 32
_LABEL = b"terrace/1/"


class EpochKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of one epoch; make them with `from_prk`.

    `up` seals what the device sends, `audit` keys the choice of audit samples; both are 32 bytes.
    """

    prk: bytes
    up: bytes
    audit: bytes

    @classmethod
    def from_prk(cls, prk: bytes) -> EpochKeys:
        """Derive the keys from the epoch's pseudo-random key of 32 bytes."""
        return cls(prk=prk, up=_expand(prk, b"up"), audit=_expand(prk, b"audit"))

    def down(self, instance: int) -> bytes:
        """Return the key under which one instance of the region seals for this device; `instance` is a u64."""
        return _expand(self.prk, b"down" + struct.pack(">Q", instance))

    def __repr__(self) -> str:
        return "EpochKeys(...)"  # keys never reach a log


def _expand(prk: bytes, label: bytes) -> bytes:
    return HKDFExpand(algorithm=hashes.SHA256(), length=KEY_BYTES, info=_LABEL + label).derive(prk)
