"""Archives are read without unpacking them, and cannot do harm."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.worker.data.importing.making import Imports, packed, pixels, png, put, taped, two_classes
from worker.data.importing import files


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_zip_file_is_read(imports: Imports, tmp_path: Path, method: int) -> None:
    made = imports.of(packed(tmp_path / "pets.zip", two_classes(prefix="pets/"), method))
    assert made.described.classes == ("cats", "dogs")
    assert (made.image("pets/dogs/3.png") == pixels(7).transpose(2, 0, 1)).all()


def test_a_zip_file_of_another_program_is_read(imports: Imports, tmp_path: Path) -> None:
    # Behind other bytes, with folders, sizes behind the data, and entries in the format for large files.
    file = tmp_path / "pets.zip"
    with file.open("wb") as raw:
        raw.write(b"#!/bin/sh\nexec unzip $0\n")

        class Pipe(io.RawIOBase):
            def writable(self) -> bool:
                return True

            def write(self, data: bytes) -> int:  # type: ignore[override]
                return raw.write(data)

        with zipfile.ZipFile(Pipe(), "w", zipfile.ZIP_DEFLATED) as archive:
            archive.mkdir("cats")
            for name, data in two_classes().items():
                with archive.open(zipfile.ZipInfo(f"./{name}"), "w", force_zip64=True) as member:
                    member.write(data)
    assert imports.of(file).report.images == 20


@pytest.mark.parametrize("end", ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_a_tar_file_is_read(imports: Imports, tmp_path: Path, end: str) -> None:
    mode = {"tar": "w", "tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}[end]
    made = imports.of(taped(tmp_path / f"pets.{end}", two_classes(prefix="./pets/"), mode))
    assert made.described.classes == ("cats", "dogs")
    assert (made.image("pets/dogs/3.png") == pixels(7).transpose(2, 0, 1)).all()
    assert made.described.side == 32


def test_the_same_images_make_the_same_version_from_any_source(imports: Imports, tmp_path: Path) -> None:
    content = two_classes(12)
    sources = (
        put(tmp_path / "folder", content),
        packed(tmp_path / "a.zip", content),
        taped(tmp_path / "a.tar", dict(reversed(content.items()))),
    )
    versions = set()
    for number, source in enumerate(sources):
        versions.add(Imports(imports.datasets, id=str(number)).of(source).described.version)
    assert len(versions) == 1
    assert len(list((imports.datasets / "own" / "pets").iterdir())) == 2  # and the file "newest"


def test_paths_that_lead_out_of_an_archive_are_skipped(imports: Imports, tmp_path: Path) -> None:
    evil = {"../evil.png": png(1), "/etc/evil.png": png(2), "cats/../../evil.png": png(3), "C:\\evil.png": png(4)}
    made = imports.of(packed(tmp_path / "pets.zip", two_classes() | evil))
    assert made.skipped() == dict.fromkeys(evil, "unsafe")
    assert {each.name for each in tmp_path.iterdir()} == {"pets.zip", "datasets"}


def test_links_in_a_zip_file_are_skipped(imports: Imports, tmp_path: Path) -> None:
    path = packed(tmp_path / "pets.zip", two_classes())
    link = zipfile.ZipInfo("cats/link.png")
    link.create_system = 3
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert imports.of(path).skipped() == {"cats/link.png": "unsafe"}


def test_links_and_devices_in_a_tar_file_are_skipped(imports: Imports, tmp_path: Path) -> None:
    path = taped(tmp_path / "pets.tar", two_classes() | {"../evil.png": png(1)})
    with tarfile.open(path, "a") as archive:
        for name, kind in (
            ("s", tarfile.SYMTYPE),
            ("h", tarfile.LNKTYPE),
            ("d", tarfile.CHRTYPE),
            ("f", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(f"cats/{name}.png")
            member.type, member.linkname = kind, "cats/1.png"
            archive.addfile(member)
    unsafe = ("../evil.png", "cats/s.png", "cats/h.png", "cats/d.png", "cats/f.png")
    assert imports.of(path).skipped() == dict.fromkeys(unsafe, "unsafe")


def test_archives_in_an_archive_are_not_opened(imports: Imports, tmp_path: Path) -> None:
    made = imports.of(packed(tmp_path / "pets.zip", two_classes() | {"cats/more.zip": b"PK\3\4"}))
    assert made.skipped() == {"cats/more.zip": "not an image"}


def test_a_member_that_would_grow_too_much_is_not_unpacked(
    imports: Imports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SUSPICIOUS_BYTES", 100_000)
    made = imports.of(packed(tmp_path / "pets.zip", two_classes() | {"cats/zeros.png": bytes(1_000_000)}))
    assert made.skipped() == {"cats/zeros.png": "limit"}


def test_files_beyond_the_limits_are_skipped(imports: Imports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_FILES", 15)
    made = imports.of(packed(tmp_path / "pets.zip", two_classes()))
    assert (made.report.images, made.report.skipped_kinds) == (15, {"limit": 5})
    monkeypatch.setattr(files, "MOST_FILES", 100)
    monkeypatch.setattr(files, "MOST_BYTES", 15 * len(png(1)))
    other = Imports(imports.datasets, id="two").of(packed(tmp_path / "pets.zip", two_classes()))
    assert 14 <= other.report.images <= 16
    assert other.report.skipped_kinds["limit"] == 20 - other.report.images


def test_a_damaged_member_is_skipped(imports: Imports, tmp_path: Path) -> None:
    path = packed(tmp_path / "pets.zip", two_classes(), zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    place = content.index(png(0))
    content[place + 200] ^= 1
    # Says that it is smaller than it is.
    entry = content.rindex(b"dogs/9.png") - 46
    content[entry + 24 : entry + 28] = struct.pack("<I", 10)
    path.write_bytes(content)
    assert imports.of(path).skipped() == {"cats/0.png": "unreadable", "dogs/9.png": "unreadable"}


def test_of_members_with_the_same_name_the_last_counts(imports: Imports, tmp_path: Path) -> None:
    path = packed(tmp_path / "pets.zip", two_classes())
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("cats/0.png", png(500))
    made = imports.of(path)
    assert made.report.images == 20
    assert (made.image("cats/0.png") == pixels(500).transpose(2, 0, 1)).all()


def _with_raw_names(path: Path, names: Mapping[str, bytes]) -> Path:
    """A zip file whose names are replaced by other bytes of the same length, without saying that they are UTF-8."""
    packed(path, two_classes() | {placeholder: png(400 + n) for n, placeholder in enumerate(names)})
    content = path.read_bytes()
    for placeholder, raw in names.items():
        assert len(placeholder) == len(raw)
        content = content.replace(placeholder.encode(), raw)
    path.write_bytes(content)
    return path


def test_names_in_latin_1_are_read(imports: Imports, tmp_path: Path) -> None:
    names = {"caf1/1.png": b"caf\xe9/1.png", "caf1/__b.png": b"caf\xe9/\xe9\xe8b.png"}
    made = imports.of(_with_raw_names(tmp_path / "pets.zip", names))
    assert "café/éèb.png" in made.paths
    assert "café" in made.described.classes


def test_names_in_shift_jis_are_read(imports: Imports, tmp_path: Path) -> None:
    names = {"1122/33.png": "犬猫/鳥.png".encode("cp932"), "1122/334455.png": "犬猫/あいう.png".encode("cp932")}
    made = imports.of(_with_raw_names(tmp_path / "pets.zip", names))
    assert {"犬猫/鳥.png", "犬猫/あいう.png"} <= made.paths


def test_names_in_a_tar_file_may_be_of_any_encoding(imports: Imports, tmp_path: Path) -> None:
    path = taped(tmp_path / "pets.tar", two_classes() | {"猫/1.png": png(1)})
    with tarfile.open(path, "a", encoding="latin-1", format=tarfile.GNU_FORMAT) as archive:
        member = tarfile.TarInfo("café/1.png")
        member.size = len(png(2))
        archive.addfile(member, io.BytesIO(png(2)))
    assert {"猫/1.png", "café/1.png"} <= imports.of(path).paths


def test_an_encrypted_zip_file_fails(imports: Imports, tmp_path: Path) -> None:
    path = packed(tmp_path / "pets.zip", two_classes())
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert imports.fails(path) == "the zip file is encrypted; pack it again without a password"


@pytest.mark.parametrize("part", [0.3, 0.99])
@pytest.mark.parametrize("end", ["zip", "tar", "tar.gz", "tar.xz"])
def test_an_archive_that_is_cut_off_fails(imports: Imports, tmp_path: Path, end: str, part: float) -> None:
    path = tmp_path / f"pets.{end}"
    if end == "zip":
        packed(path, two_classes(40))
    else:
        taped(path, two_classes(40), f"w:{end[4:]}" if len(end) > 3 else "w")
    size = path.stat().st_size - (10_240 if end == "tar" else 0)  # zeros at the end
    os.truncate(path, int(size * part))
    assert "truncated" in imports.fails(path)


def test_a_file_that_is_no_archive_fails(imports: Imports, tmp_path: Path) -> None:
    (tmp_path / "pets.zip").write_bytes(b"hello" * 100)
    assert "not a zip file" in imports.fails(tmp_path / "pets.zip")


def test_a_table_in_an_archive_gives_the_classes(imports: Imports, tmp_path: Path) -> None:
    content = {f"d/i/{n}.png": png(n) for n in range(20)}
    table = "path,label\n" + "".join(f"i/{n}.png,{n % 2}\n" for n in range(20))
    for number, source in enumerate(
        (
            packed(tmp_path / "x.zip", content | {"d/labels.csv": table.encode()}),
            taped(tmp_path / "x.tgz", content | {"d/labels.csv": table.encode()}, "w:gz"),
        )
    ):
        made = Imports(imports.datasets, id=str(number)).of(source)
        assert made.described.classes == ("0", "1")
        assert made.label("d/i/3.png") == "1"
