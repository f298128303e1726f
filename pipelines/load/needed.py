"""Which coded frames a decoder needs for some of a video's frames.

An encoder marks frames that no other one refers to, nearly half of them where it makes B-frames. Those that are not asked for need not be
decoded: the others come out the same, since leaving such frames out is what a player does that cannot keep up. Nor need those be decoded
that follow, in order of decoding, the last one that is asked for: a frame refers to earlier ones only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from typing import Protocol, TypeVar

AVCC = 1
"""First byte of H.264 headers where each unit of the stream follows its length (ISO/IEC 14496-15, AVCDecoderConfigurationRecord)."""
SLICES = range(1, 6)
"""Types of H.264's units that hold parts of a picture (ITU-T H.264, table 7-1)."""
HEADERS = (7, 8, 13, 15)
"""Types of units that say how later pictures are coded. They may precede any picture."""


class Packet(Protocol):
    """One coded frame."""

    @property
    def pts(self) -> int | None: ...

    def __bytes__(self) -> bytes: ...


AnyPacket = TypeVar("AnyPacket", bound=Packet)


def needed(codec: str, headers: bytes, packets: Collection[AnyPacket], wanted: Collection[int]) -> list[AnyPacket]:
    """Packets of the wanted frames, and of frames that one of them may need. All of them where the stream does not say.

    Args:
        codec: by FFmpeg's name.
        headers: of the stream: see evbench.pipelines.load.streams.headers.
        packets: in order of decoding.
        wanted: presentation times, in the stream's time base; one of them at least is of a packet.
    """
    if codec != "h264" or headers[:1] != bytes([AVCC]) or len(headers) < 5:
        return list(packets)
    length = (headers[4] & 3) + 1
    end = 1 + max(place for place, packet in enumerate(packets) if packet.pts in wanted)
    return [packet for packet in islice(packets, end) if packet.pts in wanted or may_be_needed(bytes(packet), length)]


def may_be_needed(packet: bytes, length: int) -> bool:
    """Whether another frame may need something of a frame of H.264: its pictures, by nal_ref_idc, or headers. Also if it cannot be read.

    Args:
        length: bytes of the number that says how long a unit is.
    """
    try:
        found = list(units(packet, length))
    except ValueError:
        return True
    pictures = [importance for kind, importance in found if kind in SLICES]
    return not pictures or any(pictures) or any(kind in HEADERS for kind, _ in found)


def units(packet: bytes, length: int) -> Iterator[tuple[int, int]]:
    """nal_unit_type and nal_ref_idc of each unit. Raises ValueError if they are not as long as they say."""
    place = 0
    while place < len(packet):
        start = place + length
        place = start + int.from_bytes(packet[place:start], "big")
        if not start < place <= len(packet):
            raise ValueError(f"a unit at byte {start} that ends at {place}, of {len(packet)}")
        yield packet[start] & 31, packet[start] >> 5 & 3
