"""Which files are no pictures at all, by name and by content.

A picture's ending makes a file a picture, whatever it holds. Some endings are certain to be of
something else; such files are never read. Every other name leaves it to the content, because
pictures occur as `IMG`, `IMG.txt`, `photo.php` and `photo.jpg.bak`.

Sources of the signatures: the `file` program's magic, and the formats' own specifications.
"""

import codecs
from enum import StrEnum

__all__ = ["HEAD_BYTES", "PICTURE_ENDINGS", "FileKind", "is_picture_name", "kind_of", "named_kind"]

HEAD_BYTES = 4096
"""As much of a file's start as `kind_of` looks at."""


class FileKind(StrEnum):
    """What a file is that is no picture: the values of `kind` in the `other_files` table."""

    VIDEO = "video"
    AUDIO = "audio"
    SIDECAR = "sidecar"
    DATABASE = "database"
    DOCUMENT = "document"
    TEXT = "text"
    ARCHIVE = "archive"
    DATA = "data"
    PROGRAM = "program"
    UNKNOWN = "unknown"


def _endings(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


PICTURE_ENDINGS = _endings(
    "apng avif avifs blp bmp bw cur dcm dcx dds dib emf eps exr fits flc fli ftc ftu gbr gif "
    "hdr heic heics heif heifs hif icb icns ico j2c j2k jfi jfif jif jp2 jpc jpe jpeg jpf jpg "
    "jpm jps jpx jxl jxr mpo msp pam pbm pcd pcx pfm pgm png pnm ppm psb psd pxr qoi ras rgb "
    "rgba sgi svg svgz tga tif tiff vda wbmp wdp webp wmf xbm xcf xpm "
    # camera raw
    "3fr arw bay cr2 cr3 crw dcr dng erf fff gpr iiq k25 kdc mef mos mrw nef nrw orf pef ptx "
    "raf raw rw2 rwl sr2 srf srw x3f "
)
"""Endings of pictures, readable here or not, in lower case."""

_ENDINGS = {
    FileKind.VIDEO: "mp4 mov m4v qt avi mkv webm mpg mpeg mpe m2v m2ts mts vob wmv asf flv f4v 3gp "
    "3g2 ogv rm rmvb mxf insv lrv divx",
    FileKind.AUDIO: "mp3 wav m4a aac flac ogg oga opus wma amr aif aiff mid midi",
    FileKind.SIDECAR: "xmp aae json pp3 dop cos cop on1 vrd xml",
    FileKind.DATABASE: "db db3 db-wal db-shm db-journal sqlite sqlite3 sqlite-wal sqlite-shm "
    "sqlite-journal lrcat lrcat-data mdb accdb ds_store",
    FileKind.DOCUMENT: "pdf doc docx docm dot dotx xls xlsx xlsm xlsb ppt pptx pptm pps ppsx odt "
    "ods odp rtf epub mobi pub msg eml",
    FileKind.TEXT: "csv tsv jsonl ini cfg conf log md yaml yml toml nfo gpx kml srt vtt md5 sha1 "
    "sha256 sfv url webloc py js css",
    FileKind.ARCHIVE: "zip rar 7z tar gz tgz bz2 tbz2 xz txz zst tzst lz lz4 lzma cab iso dmg jar",
    FileKind.DATA: "parquet pq arrow feather npy npz pkl pickle pt pth onnx safetensors h5 hdf5 "
    "tfrecord mat",
    FileKind.PROGRAM: "exe dll msi so dylib deb rpm apk bat lnk ttf otf woff woff2",
}
_KIND_OF_ENDING = {ending: kind for kind, names in _ENDINGS.items() for ending in _endings(names)}

_SIGNATURES = {
    FileKind.VIDEO: (
        *(b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"FLV\x01"),
        b"0&\xb2u\x8ef\xcf\x11",
    ),
    FileKind.AUDIO: (b"ID3\x02", b"ID3\x03", b"ID3\x04", b"OggS", b"fLaC", b"#!AMR", b"MThd"),
    FileKind.DATABASE: (b"SQLite format 3\0", b"\0\x01\0\0Standard ", b"\0\0\0\x01Bud1"),
    FileKind.DOCUMENT: (b"%PDF-", b"%!PS", b"{\\rtf", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    FileKind.ARCHIVE: (
        *(b"PK\x03\x04", b"PK\x05\x06", b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c", b"\x1f\x8b"),
        *(b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"MSCF"),
    ),
    FileKind.DATA: (b"PAR1", b"ARROW1", b"\x93NUMPY", b"\x89HDF\r\n\x1a\n"),
    FileKind.PROGRAM: (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"),
}
_QUICKTIME_ATOMS = (b"moov", b"mdat", b"wide", b"pnot", b"skip", b"free")
_RIFF = {b"AVI ": FileKind.VIDEO, b"WAVE": FileKind.AUDIO}
_OFFICE_MEMBERS = (b"[Content_Types].xml", b"_rels/", b"docProps/", b"mimetypeapplication/")
_TAR_MAGIC_AT = 257
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# Pictures that are text: PPM, XBM, XPM.
_TEXT_PICTURES = (b"P1", b"P2", b"P3", b"#define", b"/* XPM */")
_ASCII_TEXT = bytes(set(range(32, 127)) | set(b"\t\n\r\f\x1b"))
_ABOVE_ASCII = bytes(range(128, 256))


def is_picture_name(name: str) -> bool:
    """Whether a file's name ends like that of a picture."""
    return _ending(name) in PICTURE_ENDINGS


def named_kind(name: str) -> FileKind | None:
    """The kind of a file that by its name is certainly no picture; None if it may be one."""
    return _KIND_OF_ENDING.get(_ending(name))


def _ending(name: str) -> str:
    """From the last dot on, in lower case."""
    return "".join(name.rpartition(".")[1:]).lower()


def kind_of(content: bytes) -> FileKind:
    """The kind of a file that is no picture.

    Args:
        content: of the file, or its first `HEAD_BYTES`.
    """
    head = content[:HEAD_BYTES]
    for kind, signatures in _SIGNATURES.items():
        if head.startswith(signatures):
            is_office = head.startswith(b"PK") and any(name in head for name in _OFFICE_MEMBERS)
            return FileKind.DOCUMENT if is_office else kind
    if head[4:8] == b"ftyp":
        return FileKind.AUDIO if head[8:11] in (b"M4A", b"M4B") else FileKind.VIDEO
    if head[4:8] in _QUICKTIME_ATOMS:
        return FileKind.VIDEO
    if head.startswith(b"RIFF") and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head.startswith(b"ustar", _TAR_MAGIC_AT):
        return FileKind.ARCHIVE
    if head.startswith(b"MZ") and b"\0" in head:
        return FileKind.PROGRAM
    return FileKind.TEXT if _is_text(head) else FileKind.UNKNOWN


def _is_text(head: bytes) -> bool:
    """Whether it is UTF-16 with its mark, UTF-8, or mostly ASCII, without control characters."""
    if head.startswith(_TEXT_PICTURES):
        return False
    if head.startswith(_UTF16_MARKS):
        return True
    num_others = len(head.translate(None, _ASCII_TEXT))
    if not head or head.translate(None, _ASCII_TEXT + _ABOVE_ASCII):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # may end within a character
    except UnicodeDecodeError:
        return 4 * num_others <= len(head)
    return True
