"""Which coded frames a decoder has to be given for some of a video's frames.

An encoder marks frames that no other one refers to, nearly half of them where it makes B-frames. Those that are not asked for need not be
decoded: the others come out the same, since leaving such frames out is what a player does that cannot keep up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Protocol, TypeVar

AVCC = 1
"""First byte of H.264 headers where each unit of the stream follows its length (ISO/IEC 14496-15, AVCDecoderConfigurationRecord)."""
SLICES = range(1, 6)
"""Types of H.264's units that hold parts of a picture (ITU-T H.264, table 7-1)."""


class Packet(Protocol):
    """One coded frame."""

    @property
    def pts(self) -> int | None: ...

    def __bytes__(self) -> bytes: ...


AnyPacket = TypeVar("AnyPacket", bound=Packet)


def needed(codec: str, headers: bytes, packets: Collection[AnyPacket], wanted: Collection[int]) -> list[AnyPacket]:
    """Those of the wanted frames, and those that a frame may refer to. All of them where the stream does not tell.

    Args:
        codec: by FFmpeg's name.
        headers: of the stream: `extradata`.
        wanted: presentation times, in the stream's time base.
    """
    if codec != "h264" or headers[:1] != bytes([AVCC]) or len(headers) < 5:
        return list(packets)
    length = (headers[4] & 3) + 1
    return [packet for packet in packets if packet.pts in wanted or may_be_referred_to(bytes(packet), length)]


def may_be_referred_to(packet: bytes, length: int) -> bool:
    """Whether a frame of H.264 is marked as one that others may refer to (nal_ref_idc), or cannot be read.

    Args:
        length: bytes that tell how long a unit is.
    """
    slices = [first for first in first_bytes(packet, length) if first & 31 in SLICES]
    return not slices or any(first >> 5 & 3 for first in slices)


def first_bytes(packet: bytes, length: int) -> Iterator[int]:
    """Of each unit."""
    place = 0
    while place + length < len(packet):
        yield packet[place + length]
        place += length + int.from_bytes(packet[place : place + length], "big")
