"""Which codecs the GPU's video decoders (NVDEC) take, asked of the driver by cuvidGetDecoderCaps (Video Codec SDK, cuviddec.h)."""

from __future__ import annotations

import ctypes

LIBRARY = "libnvcuvid.so.1"
CODECS = {"MPEG-2": 1, "MPEG-4": 2, "VC-1": 3, "H.264": 4, "JPEG": 5, "HEVC": 8, "VP8": 9, "VP9": 10, "AV1": 11}
"""Name -> cudaVideoCodec."""
YUV420 = 1
"""cudaVideoChromaFormat."""


class DecoderCaps(ctypes.Structure):
    """CUVIDDECODECAPS, of 88 bytes."""

    _fields_ = (
        ("codec", ctypes.c_int),
        ("chroma", ctypes.c_int),
        ("depth_less_8", ctypes.c_uint),
        ("reserved_1", ctypes.c_uint * 3),
        ("supported", ctypes.c_ubyte),
        ("decoders", ctypes.c_ubyte),
        ("output_formats", ctypes.c_ushort),
        ("max_width", ctypes.c_uint),
        ("max_height", ctypes.c_uint),
        ("max_macroblocks", ctypes.c_uint),
        ("min_width", ctypes.c_ushort),
        ("min_height", ctypes.c_ushort),
        ("histogram", ctypes.c_ubyte),
        ("counter_depth", ctypes.c_ubyte),
        ("histogram_bins", ctypes.c_ushort),
        ("reserved_2", ctypes.c_uint * 10),
    )


def load() -> ctypes.CDLL:
    """The driver's library. Raises OSError where it is not there."""
    return ctypes.CDLL(LIBRARY)


def decoders(library: ctypes.CDLL) -> dict[str, int]:
    """Codec -> number of decoders that take it in 8 bits and 4:2:0; codecs that none takes are left out.

    Makes the primary CUDA context of the first GPU current, and leaves it so: the driver answers only then.

    Raises:
        OSError: the driver refuses to answer.
    """
    driver = ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    _require("cuInit", driver.cuInit(0))
    _require("cuDeviceGet", driver.cuDeviceGet(ctypes.byref(device), 0))
    _require("cuDevicePrimaryCtxRetain", driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
    _require("cuCtxSetCurrent", driver.cuCtxSetCurrent(context))
    found = {}
    for name, codec in CODECS.items():
        caps = DecoderCaps(codec=codec, chroma=YUV420)
        _require("cuvidGetDecoderCaps", library.cuvidGetDecoderCaps(ctypes.byref(caps)))
        if caps.supported:
            found[name] = int(caps.decoders)
    return found


def _require(function: str, code: int) -> None:
    if code:
        raise OSError(f"{function} returned error {code} of CUDA")
