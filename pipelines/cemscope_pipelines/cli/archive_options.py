"""Options that ``push`` and ``pull`` share: which archive, and how to reach it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from cemscope.dicom.pacs.archive import Archive

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def archive_options(function: F) -> F:
    """Add the options that name an archive."""
    for option in (
        click.option("--tries", type=click.IntRange(1, 20), default=4,
                     show_default=True,
                     help="So often a failed exchange is tried, with growing waits."),
        click.option("--tls-key", metavar="FILE", type=_FILE,
                     help="Private key of --tls-cert, PEM."),
        click.option("--tls-cert", metavar="FILE", type=_FILE,
                     help="Certificate that cemscope shows, PEM."),
        click.option("--tls-ca", metavar="FILE", type=_FILE,
                     help="Authority of the archive's certificate, PEM; default: those "
                     "of the system."),
        click.option("--tls", is_flag=True,
                     help="Encrypt DIMSE; DICOMweb is encrypted by https."),
        click.option("--calling-aet", metavar="AET", default="CEMSCOPE",
                     show_default=True, help="AE title of cemscope."),
        click.option("--aet", metavar="AET", help="AE title of the archive."),
        click.option("--dicom", "dimse", metavar="HOST:PORT",
                     help="Archive that speaks DIMSE; goes with --aet."),
        click.option("--dicomweb", metavar="URL",
                     help="Root of a DICOMweb service, e.g. https://pacs/dicom-web."),
    ):  # fmt: skip
        function = option(function)
    return function


def open_archive(options: dict[str, Any]) -> "Archive":
    """Make the archive that the options name; nothing is sent yet."""
    from cemscope.dicom.pacs.archive import RetrySettings, TlsFiles
    from cemscope.dicom.pacs.dicomweb import WebArchive
    from cemscope.dicom.pacs.dimse import DimseArchive, DimsePeer
    from cemscope_pipelines.pacs.credentials import web_credentials

    url, address = options["dicomweb"], options["dimse"]
    if bool(url) == bool(address):
        raise click.UsageError("give one of --dicomweb URL and --dicom HOST:PORT")
    retry = RetrySettings(tries=options["tries"])
    tls = TlsFiles(options["tls_ca"], options["tls_cert"], options["tls_key"])
    if url:
        return WebArchive(url, web_credentials(url), tls, retry)
    if not options["aet"]:
        raise click.UsageError("--dicom needs --aet, the AE title of the archive")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise click.UsageError("--dicom: expected HOST:PORT, e.g. pacs.example:104")
    encrypted = options["tls"] or any((tls.authority, tls.certificate))
    peer = DimsePeer(
        host.strip("[]"), int(port), options["aet"], options["calling_aet"],
        tls if encrypted else None,
    )  # fmt: skip
    return DimseArchive(peer, retry)
