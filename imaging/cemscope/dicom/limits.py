"""How large an input may be before anything is allocated for it."""

from dataclasses import dataclass

GIB = 1024**3
MIB = 1024**2


@dataclass(frozen=True, slots=True)
class InputLimits:
    """Largest input that is read; headers claim sizes, and nobody checks them.

    Attributes
    ----------
    max_rows_columns : int
        Pixels along one side of a slice. Scanners reconstruct up to 2048.
    max_slices : int
        Slices of one series, and frames of one object.
    max_volume_gib : float
        The volume as int16; 4 GiB hold 512 x 512 x 8192 voxels.
    max_header_mib : float
        Header of one file, up to its pixels. Enhanced objects of 2000 frames have 10.
    max_file_gib : float
        One compressed multi-frame object, which is held in memory to be decoded.
    max_inflated_mib : float
        A file of the transfer syntax Deflated Explicit VR, inflated. A slice of 4096 x
        4096 pixels has 32 MiB.
    max_archive_files : int
        Files in a zip archive.
    max_archive_gib : float
        All files of a zip archive unpacked, by the archive's own account.
    max_archive_ratio : float
        Unpacked size over packed size from which an archive over 1 GiB counts as a
        bomb. CT packs to a half or a third; even empty air stays below.
    decoder_memory_gib : float
        Memory of one decoder process (not enforced on Windows and macOS). A slice of
        4096 x 4096 needs 0.3.
    decoder_timeout_s : float
        Time for one compressed slice; they take 0.01 to 0.5 s. After slices that
        took so long together and could not be decoded no other one is tried.
    decoder_processes : int
        Compressed slices decoded at the same time; 0: one per processor, at most 8.
    """

    max_rows_columns: int = 4096
    max_slices: int = 20_000
    max_volume_gib: float = 4.0
    max_header_mib: float = 64.0
    max_file_gib: float = 2.0
    max_inflated_mib: float = 128.0
    max_archive_files: int = 200_000
    max_archive_gib: float = 64.0
    max_archive_ratio: float = 200.0
    decoder_memory_gib: float = 1.0
    decoder_timeout_s: float = 60.0
    decoder_processes: int = 0
