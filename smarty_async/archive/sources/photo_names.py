"""Tell photos from other files: by the name's extension, and where that is no photo's, by the first bytes."""

from __future__ import annotations

from typing import Final

__all__ = ["SIGNATURE_BYTES", "has_photo_signature", "is_photo_name"]

_PHOTO_EXTENSIONS: Final = (
    # JPEG and its relatives, PNG, TIFF
    "jpg jpeg jpe jfif jif jps mpo jp2 j2k jpf jpx jpm png apng tif tiff btf"
    # other formats of pictures
    " gif webp bmp dib heic heif hif avif avifs psd psb pcx ppm pgm pbm pnm pam tga sgi rgb jxl jxr wdp hdp exr hdr"
    # raw formats
    " 3fr ari arw bay cap cr2 cr3 crw dcr dcs dng drf eip erf fff gpr iiq k25 kdc mdc mef mos mrw nef nrw orf pef ptx"
    " pxn r3d raf raw rw2 rwl rwz sr2 srf srw x3f"
)
"""Extensions of pictures, in lower case: one of these that holds none is damaged, or misnamed."""

_OTHER_EXTENSIONS: Final = (
    # notes that cameras, phones and photo tools keep beside a photo
    "aae xmp json thm xml pp3 dop cos cot on1 pto lrcat lrtemplate modd moff picasa acr ini db db-shm db-wal sqlite"
    " ithmb exif mie dxo"
    # videos and sounds
    " mov mp4 m4v avi mkv mts m2ts mpg mpeg mpe 3gp 3g2 wmv flv webm vob ogv insv lrv mod tod mp3 m4a aac wav ogg opus"
    " flac wma amr aiff"
    # documents and text
    " pdf txt md rtf doc docx xls xlsx ppt pptx odt ods odp pages numbers key csv tsv log htm html css js url webloc"
    " lnk eps ai svg indd epub"
    # archives, programs, and files that are not complete
    " zip rar 7z gz tgz bz2 xz tar iso dmg exe msi app apk dll so sh bat py part crdownload download tmp temp bak"
    " torrent md5 sha1 sha256 sfv"
)
"""Extensions of files that stand beside photos and are none, in lower case."""

_PHOTO: Final = frozenset(_PHOTO_EXTENSIONS.split())
_OTHER: Final = frozenset(_OTHER_EXTENSIONS.split())

SIGNATURE_BYTES: Final = 16
"""How many bytes `has_photo_signature` looks at."""

_SIGNATURES: Final = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF87a", b"GIF89a", b"8BPS",
    b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"\0\0\0\x0cJXL ", b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR",
    b"\0MRM", b"FOVb",
)  # fmt: skip
"""How files of these formats begin. Two-byte signatures are left out: a text may begin with them as well."""

_ISO_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis", b"crx ")
"""What follows ``ftyp`` in pictures; in videos it is another word."""


def is_photo_name(name: str) -> bool | None:
    """Whether a file's name says that it is a photo; None when it says nothing: no extension, or an unknown one."""
    extension = name.rpartition(".")[2].lower()
    if extension in _PHOTO:
        return True
    return False if extension in _OTHER else None


def has_photo_signature(beginning: bytes) -> bool:
    """Whether a file that begins with `beginning` (`SIGNATURE_BYTES` of it) may be a picture."""
    if beginning.startswith(_SIGNATURES):
        return True
    if beginning[4:8] == b"ftyp":
        return beginning[8:12] in _ISO_BRANDS
    return beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP"
