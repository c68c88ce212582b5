"""Menus that a key opens: the next key chooses."""

from collections.abc import Callable, Sequence

from qtpy.QtWidgets import QMenu, QWidget

from cemscope_pipelines.review.finding_list import PLACE_WORDS
from cemscope_pipelines.review.review_document import FindingKind
from cemscope_pipelines.review.reviewed_result import REJECT_REASONS

LEAK_TYPES = (
    ("B", "basivertebral vein"),
    ("S", "segmental vein"),
    ("C", "cortical defect"),
    ("D", "disc"),
    ("I", "instrument: screw or needle track"),
)

BORDER = "QMenu { border: 1px solid #7A8088; }"
"""Sets a menu off from the dock, which has its colour."""

Choice = tuple[str, Callable[[], None]]
"""Text (with & before its key) and what it does."""


def _act(function: Callable[[str], None], word: str) -> Callable[[], None]:
    """Bind a choice."""
    return lambda: function(word)


def menu_of(parent: QWidget, title: str, choices: Sequence[Choice]) -> QMenu:
    """Make a menu; the heading cannot be chosen."""
    menu = QMenu(title, parent)
    menu.setStyleSheet(BORDER)
    menu.addAction(title).setEnabled(False)  # napari's style draws no sections
    menu.addSeparator()
    for text, act in choices:
        _add(menu, text, act)
    return menu


def _add(menu: QMenu, text: str, act: Callable[[], None]) -> None:
    menu.addAction(text).triggered.connect(lambda _=False: act())


def reject_choices(
    kind: FindingKind, reject: Callable[[str], None]
) -> tuple[Choice, ...]:
    """Numbered reasons to reject a finding."""
    return tuple(
        (f"&{place}  {reason}", _act(reject, reason))
        for place, reason in enumerate(REJECT_REASONS[kind], start=1)
    )


def leak_menu(
    parent: QWidget,
    types: Sequence[str],
    levels: Sequence[tuple[str, str]],
    set_types: Callable[[tuple[str, ...]], None],
    set_place: Callable[[str], None],
    set_level: Callable[[str], None],
) -> QMenu:
    """Make the menu that modifies a leak.

    Parameters
    ----------
    types
        The leak's types now.
    levels
        The reader's and the machine's name of each vertebra it may come from.
    set_types, set_place, set_level
        What the choices do.
    """
    menu = menu_of(
        parent,
        "The leak's type is",
        [
            (f"&{letter}  {words}", _act(lambda one: set_types((one,)), letter))
            for letter, words in LEAK_TYPES
        ],
    )
    also = menu.addMenu("&Also a second type")
    for letter, words in LEAK_TYPES:
        if letter not in types:
            _add(
                also,
                f"&{letter}  {words}",
                _act(lambda one: set_types((*types, one)), letter),
            )
    place = menu.addMenu("&Place")
    for code, words in PLACE_WORDS.items():
        _add(place, words, _act(set_place, code))
    level = menu.addMenu("&Level it comes from")
    for shown, name in levels:
        _add(level, shown, _act(set_level, name))
    return menu
