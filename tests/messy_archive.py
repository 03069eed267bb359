"""An archive as it really is: good and bad files of every kind, each with its expected outcome.

`messy_files()` maps keys to files; where these are put (a folder, a bucket, a tar, a table) is for
the caller. `awkward_names()` has more of them whose names are the difficulty. All is made here from
nothing but a seedless drawing, so that every call gives the same.
"""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import pillow_heif
from PIL import Image, ImageCms

from pipeline.errors import Reason

__all__ = ["MessyFile", "awkward_names", "drawing", "messy_files", "saved"]

WIDTH, HEIGHT = 97, 66


@dataclass(frozen=True, slots=True)
class MessyFile:
    """One file.

    Attributes:
        content: its bytes.
        expected: width and height of the upright picture, or the reason of the dead letter.
    """

    content: bytes
    expected: tuple[int, int] | Reason


def drawing(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """A picture with gradients, edges and some texture."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    red, green = 255 * x / max(1, width - 1), 255 * y / max(1, height - 1)
    blue = 128 + 127 * np.sin(x / 3) * np.cos(y / 5)
    pixels = np.stack([red, green, blue], axis=2).astype(np.uint8)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = (250, 240, 20)
    return Image.fromarray(pixels)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    """A picture as a file of one of Pillow's formats."""
    stream = io.BytesIO()
    picture.copy().save(stream, kind, **options)
    return stream.getvalue()


def messy_files() -> dict[str, MessyFile]:
    """Files by key, at least 60 kinds, in no order."""
    pillow_heif.register_heif_opener()
    files = {name: MessyFile(content, (WIDTH, HEIGHT)) for name, content in _good().items()}
    files |= _turned()
    files |= {
        name: MessyFile(content, reason)
        for reason, contents in _bad().items()
        for name, content in contents.items()
    }
    return files


def awkward_names() -> dict[bytes, MessyFile]:
    """Files below a folder by the bytes of their names; the last ones are no UTF-8."""
    content = saved(drawing(), "PNG")
    names = [
        "new\nline.png",
        "carriage\rreturn.png",
        "tab\tulator.png",
        "'single' \"double\" `back`.png",
        "back\\slash.png",
        "right\u202eto-left\u202c.png",
        "zero\u200bwidth.png",
        "combined-e\u0301.png",
        "composed-\u00e9.png",
        "\U0001f600.png",
        "per%2Fcent%00.png",
        "a;b,c|d&e$(f).png",
        "  spaces  .png",
        "#hash?query=1.png",
        "no extension",
        "n" * 200,
    ]
    encoded = [name.encode() for name in names] + [b"latin-\xe9.png", b"broken-\xff\xfe\x80.png"]
    return {b"names/" + name: MessyFile(content, (WIDTH, HEIGHT)) for name in encoded}


def _good() -> dict[str, bytes]:
    rgb = drawing()
    grey16 = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    clear = rgb.copy()
    clear.putalpha(rgb.convert("L"))
    palette = rgb.convert("P", palette=Image.Palette.ADAPTIVE)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    jpeg = saved(rgb, "JPEG", quality=90)
    return {
        "jpeg/plain.jpg": jpeg,
        "jpeg/progressive.jpg": saved(rgb, "JPEG", progressive=True),
        "jpeg/full-chroma.jpg": saved(rgb, "JPEG", subsampling=0),
        "jpeg/greyscale.jpg": saved(rgb.convert("L"), "JPEG"),
        "jpeg/cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG"),
        "jpeg/ycck.jpg": _as_ycck(saved(rgb.convert("CMYK"), "JPEG")),
        "jpeg/profile.jpg": saved(rgb, "JPEG", icc_profile=profile),
        "jpeg/broken-profile.jpg": saved(rgb, "JPEG", icc_profile=b"no profile" * 30),
        "jpeg/broken-exif.jpg": saved(rgb, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" * 3),
        "jpeg/restart-markers.jpg": saved(rgb, "JPEG", restart_marker_rows=1),
        "jpeg/optimised.jpg": saved(rgb, "JPEG", optimize=True),
        "jpeg/rubbish-behind.jpg": jpeg + b"rubbish" * 1000,
        "jpeg/two-in-one.mpo": saved(rgb, "MPO", **_more()),
        "png/plain.png": saved(rgb, "PNG"),
        "png/one-bit.png": saved(rgb.convert("1"), "PNG"),
        "png/greyscale.png": saved(rgb.convert("L"), "PNG"),
        "png/palette.png": saved(palette, "PNG"),
        "png/palette-transparent.png": saved(palette, "PNG", transparency=3),
        "png/palette-alpha.png": saved(palette, "PNG", transparency=bytes(range(256))),
        "png/rgb-transparent.png": saved(rgb, "PNG", transparency=(250, 240, 20)),
        "png/grey16.png": saved(grey16, "PNG"),
        "png/rgb16.png": _png(16, 2),
        "png/rgba16.png": _png(16, 6),
        "png/alpha.png": saved(clear, "PNG"),
        "png/grey-alpha.png": saved(clear.convert("LA"), "PNG"),
        "png/interlaced.png": _png(8, 2, interlaced=True),
        "png/animated.png": saved(rgb, "PNG", **_more()),
        "png/profile.png": saved(rgb, "PNG", icc_profile=profile),
        "png/rubbish-behind.png": saved(rgb, "PNG") + b"rubbish" * 1000,
        "webp/lossy.webp": saved(rgb, "WEBP"),
        "webp/lossless.webp": saved(rgb, "WEBP", lossless=True),
        "webp/alpha.webp": saved(clear, "WEBP"),
        "webp/animated.webp": saved(rgb, "WEBP", **_more()),
        "gif/plain.gif": saved(palette, "GIF"),
        "gif/transparent.gif": saved(palette, "GIF", transparency=3),
        "gif/animated.gif": saved(rgb, "GIF", **_more()),
        "tiff/plain.tiff": saved(rgb, "TIFF"),
        "tiff/lzw.tiff": saved(rgb, "TIFF", compression="tiff_lzw"),
        "tiff/deflate.tiff": saved(rgb, "TIFF", compression="tiff_adobe_deflate"),
        "tiff/jpeg.tiff": saved(rgb, "TIFF", compression="jpeg"),
        "tiff/fax.tiff": saved(rgb.convert("1"), "TIFF", compression="group4"),
        "tiff/pages.tiff": saved(rgb, "TIFF", **_more()),
        "tiff/cmyk.tiff": saved(rgb.convert("CMYK"), "TIFF"),
        "tiff/grey16.tiff": saved(grey16, "TIFF"),
        "tiff/alpha.tiff": saved(clear, "TIFF"),
        "tiff/palette.tiff": saved(palette, "TIFF"),
        "tiff/big.tiff": saved(rgb, "TIFF", big_tiff=True),
        "other/plain.bmp": saved(rgb, "BMP"),
        "other/palette.bmp": saved(palette, "BMP"),
        "other/icon.ico": saved(rgb, "ICO", sizes=[(WIDTH, HEIGHT)]),
        "other/icon-bmp.ico": saved(rgb, "ICO", sizes=[(WIDTH, HEIGHT)], bitmap_format="bmp"),
        "other/lossy.jp2": saved(rgb, "JPEG2000", quality_layers=[20], irreversible=True),
        "other/alpha.jp2": saved(clear, "JPEG2000"),
        "other/codestream.j2k": saved(rgb, "JPEG2000", no_jp2=True),
        "other/plain.avif": saved(rgb, "AVIF", speed=10),
        "other/alpha.avif": saved(clear, "AVIF", speed=10),
        "other/plain.heic": saved(rgb, "HEIF"),
        "other/alpha.heic": saved(clear, "HEIF"),
        "other/plain.ppm": saved(rgb, "PPM"),
        "other/plain.pcx": saved(rgb, "PCX"),
        "other/plain.tga": saved(rgb, "TGA"),
        "other/plain.sgi": saved(rgb, "SGI"),
        "other/plain.dds": saved(rgb, "DDS"),
        "other/plain.qoi": saved(rgb, "QOI"),
        "other/palette.blp": saved(palette, "BLP"),
        "other/plain.pxr": _pixar(rgb),
        "other/one-bit.msp": saved(rgb.convert("1"), "MSP"),
        "other/plain.xbm": saved(rgb.convert("1"), "XBM"),
        "names/jpeg-called.png": jpeg,
        "names/png-called.jpg": saved(rgb, "PNG"),
        "names/webp-called.gif": saved(rgb, "WEBP"),
        "names/heic-called.jpg": saved(rgb, "HEIF"),
        "names/without-extension": jpeg,
        "names/called.txt": jpeg,
    }


def _pixar(picture: Image.Image) -> bytes:
    """Pixar's format, which Pillow only reads; rows of RGB follow a header of 1024 bytes."""
    header = bytearray(1024)
    header[:4] = b"\x80\xe8\0\0"
    struct.pack_into("<HH", header, 416, picture.height, picture.width)
    struct.pack_into("<HH", header, 424, 14, 2)
    return bytes(header) + picture.tobytes()


def _more() -> dict[str, object]:
    """Options for more pages or frames. New pictures each time: saving leaves marks on them."""
    others = [drawing().transpose(Image.Transpose.ROTATE_180) for _ in range(3)]
    return {"save_all": True, "append_images": others}


def _turned() -> dict[str, MessyFile]:
    """As cameras hold them: orientations 1 to 8."""
    files = {}
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        size = (WIDTH, HEIGHT) if orientation < 5 else (HEIGHT, WIDTH)
        for kind in ("JPEG", "PNG", "WEBP"):
            name = f"turned/{kind.lower()}-{orientation}.{kind.lower()}"
            files[name] = MessyFile(saved(drawing(), kind, exif=exif), size)
    exif = Image.Exif()
    exif[0x0112] = 99
    files["turned/jpeg-99.jpg"] = MessyFile(saved(drawing(), "JPEG", exif=exif), (WIDTH, HEIGHT))
    return files


def _bad() -> dict[Reason, dict[str, bytes]]:
    rgb = drawing()
    jpeg, png = saved(rgb, "JPEG", quality=90), saved(rgb, "PNG")
    webp, gif = saved(rgb, "WEBP"), saved(rgb, "GIF")
    tiff = saved(rgb, "TIFF")
    clear = Image.new("F", (WIDTH, HEIGHT), 0.5)
    page = b"<!DOCTYPE html><html><head><title>404</title></head><body>Gone</body></html>\n"
    return {
        Reason.TRUNCATED: {
            "cut/empty.jpg": b"",
            "cut/one-byte-header.jpg": jpeg[:20],
            "cut/half.jpg": jpeg[: len(jpeg) // 2],
            "cut/progressive.jpg": _half(saved(rgb, "JPEG", progressive=True)),
            "cut/half.png": _half(png),
            "cut/header.png": png[:30],
            "cut/half.gif": _half(gif),
            "cut/half.bmp": _half(saved(rgb, "BMP")),
            "cut/half.tga": _half(saved(rgb, "TGA")),
            "cut/half.ppm": _half(saved(rgb, "PPM")),
            "cut/half.webp": _half(webp),
            "cut/rows.tiff": tiff[: len(tiff) * 2 // 3],
            "cut/directory.tiff": tiff[:-200],
            "cut/half.jp2": _half(saved(rgb, "JPEG2000")),
            "cut/half.avif": _half(saved(rgb, "AVIF", speed=10)),
            "cut/half.heic": _half(saved(rgb, "HEIF")),
            "cut/no-data.png": _declared_png(500, 500),
        },
        Reason.UNREADABLE: {
            "broken/tables.jpg": _broken_tables(jpeg),
            "broken/data.png": _inverted_data(png),
            "broken/header.webp": webp[:12] + bytes(len(webp) - 12),
            "broken/directory.tiff": b"II*\0\xff\xff\xff\x7f" + bytes(200),
            "broken/endless-directory.tiff": b"II*\0\x08\0\0\0\0\0\x08\0\0\0" + bytes(200),
            "broken/floats.tiff": saved(clear, "TIFF"),
        },
        Reason.NOT_AN_IMAGE: {
            "no-image/letter.jpg": b"Dear Sir or Madam, " * 20,
            "no-image/page.jpg": page,
            "no-image/answer.png": b'{"error": "NoSuchKey"}',
            "no-image/error.jpg": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
            "no-image/drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'></svg>",
            "no-image/document.pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n" * 5,
            "no-image/page.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "no-image/sound.webp": b"RIFF\x24\0\0\0WAVEfmt " + bytes(200),
            "no-image/film.mp4": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(300),
            "no-image/zeros.png": bytes(5000),
            "no-image/archive.zip": b"PK\3\4\x14\0\0\0\x08\0" + bytes(100),
            "no-image/packed.gz": b"\x1f\x8b\x08\0\0\0\0\0\0\3" + bytes(100),
            "no-image/program.jpg": b"\x7fELF\2\1\1" + bytes(200),
            "no-image/mark.txt": "\ufeffÄpfel und Birnen\n".encode("utf-16"),
            "no-image/one-byte.jpg": b"\xff",
        },
        Reason.TOO_LARGE: {
            "bombs/30000x30000.png": _one_bit_bomb(30_000),
            "bombs/declared.png": _declared_png(60_000, 60_000),
            "bombs/declared.gif": gif[:6] + struct.pack("<HH", 65_535, 65_535) + gif[10:],
            "bombs/declared.bmp": _patched(saved(rgb, "BMP"), 18, struct.pack("<ii", 50000, 50000)),
            "bombs/declared.jpg": _resized_jpeg(jpeg, 65_000, 65_000),
            "bombs/strip.png": saved(Image.new("1", (1, 400_000)), "PNG"),
            "bombs/line.png": saved(Image.new("1", (400_000, 1)), "PNG"),
        },
    }


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _patched(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_of(header: bytes, data: bytes) -> bytes:
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _declared_png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _png_of(header, zlib.compress(bytes(100)))


def _png(bits: int, colour: int, *, interlaced: bool = False) -> bytes:
    """Kinds that Pillow does not write: 16 bits a channel, and Adam7."""
    pixels = np.asarray(drawing().convert("RGBA" if colour == 6 else "RGB"))
    wide = (pixels.astype(">u2") * 257) if bits == 16 else pixels
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    passes = [*passes, (0, 1, 1, 2)] if interlaced else [(0, 0, 1, 1)]
    data = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in passes for row in wide[y::dy, x::dx])
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, colour, 0, 0, int(interlaced))
    return _png_of(header, zlib.compress(data))


def _one_bit_bomb(side: int) -> bytes:
    """A sound picture: it must be refused for its size, not for a defect."""
    compressor = zlib.compressobj(9)
    rows = bytes(1 + side // 8) * 100
    data = b"".join(compressor.compress(rows) for _ in range(side // 100)) + compressor.flush()
    return _png_of(struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0), data)


def _as_ycck(cmyk_jpeg: bytes) -> bytes:
    """Says of a CMYK file of Pillow's, in Adobe's marker, that it is YCCK."""
    at = cmyk_jpeg.index(b"Adobe")
    return _patched(cmyk_jpeg, at + 11, b"\x02")


def _resized_jpeg(content: bytes, width: int, height: int) -> bytes:
    return _patched(content, content.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))


def _broken_tables(content: bytes) -> bytes:
    return _patched(content, content.index(b"\xff\xc4") + 5, b"\xff" * 16)


def _inverted_data(content: bytes) -> bytes:
    start = content.index(b"IDAT") + 4
    (length,) = struct.unpack(">I", content[start - 8 : start - 4])
    data = bytes(byte ^ 0xFF for byte in content[start : start + length])
    return _patched(content, start, data + struct.pack(">I", zlib.crc32(b"IDAT" + data)))
