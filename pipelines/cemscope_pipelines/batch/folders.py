"""Walk over a root: what is searched on its own, and what is in the way."""

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cemscope.dicom.files import SNIFF_BYTES, looks_like_dicom


@dataclass(slots=True)
class RootWalk:
    """What a walk over a root found.

    Attributes
    ----------
    units : set of Path
        Folders and archives that are searched on their own.
    linked : set of Path
        Those of them that a link leads to.
    links_followed, links_dead, links_back : int
        Links to folders that were followed; links that lead nowhere; links to folders
        that are searched anyway, which are not followed.
    unreadable : dict of Path to str
        Folders that could not be listed, and why.
    """

    units: set[Path] = field(default_factory=set)
    linked: set[Path] = field(default_factory=set)
    links_followed: int = 0
    links_dead: int = 0
    links_back: int = 0
    unreadable: dict[Path, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Listing:
    """Entries of one folder, in the order of their names."""

    folders: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    links: tuple[Path, ...] = ()
    """Links to folders."""


class _Walker:
    def __init__(self, excluded: Path) -> None:
        self.excluded = excluded
        self.walk = RootWalk()
        self._listings: dict[Path, _Listing] = {}
        self._links: list[Path] = []
        self._tops: list[Path] = []

    def add_top(self, top: Path, *, linked: bool) -> None:
        """Walk over a root, or over what a link leads to."""
        self._tops.append(top.resolve())
        units = set(self._units(top))
        self.walk.units |= units
        if linked:
            self.walk.linked |= units
        self._listings.clear()

    def follow_links(self) -> None:
        """Walk over what links lead to, until there are no new ones."""
        for link in self._links:  # grows while it is walked
            target = link.resolve()
            seen = any(
                target == top or top in target.parents or target in top.parents
                for top in self._tops
            )
            if seen or target == self.excluded or self.excluded in target.parents:
                self.walk.links_back += 1
                continue
            self.walk.links_followed += 1
            self.add_top(link, linked=True)

    def _units(self, top: Path) -> Iterator[Path]:
        folder = top
        while True:
            here = self._list(folder)
            if _has_dicom(here.files):
                yield folder
                break
            if len(here.folders) != 1:
                yield from here.folders
                break
            folder = here.folders[0]
        waiting = [top]
        while waiting:
            place = waiting.pop()
            here = self._list(place)
            del self._listings[place]  # the files of a large root are many
            waiting += here.folders
            self._links += here.links
            yield from (path for path in here.files if may_be_zip(path))

    def _list(self, folder: Path) -> _Listing:
        known = self._listings.get(folder)
        if known is None:
            known = self._listings[folder] = self._read(folder)
        return known

    def _read(self, folder: Path) -> _Listing:
        folders, files, links = [], [], []
        try:
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda e: e.name):
                    path = folder / entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if path.resolve() != self.excluded:
                            folders.append(path)
                    elif entry.is_symlink() and not path.exists():
                        self.walk.links_dead += 1
                    elif entry.is_dir():
                        links.append(path)
                    elif entry.is_file():
                        files.append(path)
        except OSError as error:
            self.walk.unreadable[folder] = error.strerror or type(error).__name__
        return _Listing(tuple(folders), tuple(files), tuple(links))


def walk_root(root: Path, excluded: Path) -> RootWalk:
    """Take a root apart into folders and archives that are searched on their own.

    A folder with DICOM files in it is one unit with all below it, because its series
    may go on there; so is each folder below one that has none. Archives are units of
    their own wherever they lie. Links to folders are followed, each target once;
    one that leads back into what is searched, or above it, is not.

    Parameters
    ----------
    root
        Folder, DICOM file or archive.
    excluded
        Real path of a folder that is left out with all below it.
    """
    if root.is_file():
        return RootWalk(units={root})
    walker = _Walker(excluded)
    walker.add_top(root, linked=False)
    walker.follow_links()
    return walker.walk


def may_be_zip(path: Path) -> bool:
    """Tell whether a file is an archive, by name and content."""
    try:
        return path.suffix.lower() == ".zip" and zipfile.is_zipfile(path)
    except OSError:
        return False


def _has_dicom(files: tuple[Path, ...]) -> bool:
    for path in files:
        try:
            with path.open("rb") as stream:
                if looks_like_dicom(stream.read(SNIFF_BYTES)):
                    return True
        except OSError:
            continue
    return False
