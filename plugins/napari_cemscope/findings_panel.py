"""The list of findings with the reader's decisions."""

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from cemscope_pipelines.review.finding_list import FindingRow
from cemscope_pipelines.review.review_document import DecisionKind, FindingId

COLUMNS = ("", "Level", "Finding", "Type", "mL", "Certainty")
TYPE_COLUMN, ML_COLUMN = 3, 4

MARKS: dict[DecisionKind, tuple[str, str, str]] = {
    "open": ("○", "#FFD54A", "Not judged yet"),
    "accepted": ("✓", "#7FDBA8", "Accepted"),
    "modified": ("✎", "#7CC4FF", "Modified"),
    "rejected": ("✗", "#FF8A80", "Rejected"),
}
"""Sign, colour and meaning of each decision; the signs differ without their colour."""


def volume_text(row: FindingRow) -> str:
    """Write the reader's volume, and the machine's in brackets where it differs."""
    now = "n. a." if row.volume_ml is None else f"{row.volume_ml:.2f}"
    if not row.changed:
        return now
    was = "-" if row.machine_ml is None else f"{row.machine_ml:.2f}"
    return f"{now} (was {was})"


class FindingsPanel(QWidget):
    """Table of findings, what is still open, and the buttons to judge them.

    Signals
    -------
    chosen
        A finding (`FindingId`) was clicked.
    asked
        A button was pressed: "accept", "modify", "reject", "next_open".
    """

    chosen = Signal(object)
    asked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: tuple[FindingRow, ...] = ()
        self._filling = False
        self._judging: list[QPushButton] = []
        self.progress = QProgressBar()
        self.progress.setTextVisible(True)
        self.progress.setFixedHeight(18)
        self.table = QTableWidget(0, len(COLUMNS))
        self._set_up_table()
        self.detail = QLabel("")
        self.detail.setWordWrap(True)
        self.detail.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
        )
        self.detail.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.detail.setMinimumHeight(88)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 4)
        layout.addWidget(self.progress)
        layout.addWidget(self.table, stretch=1)
        layout.addWidget(self.detail)
        layout.addLayout(self._buttons())

    def _set_up_table(self) -> None:
        table = self.table
        table.setObjectName("cemscope findings")
        tips = (
            "Decision", "Level of the vertebra", "What was found",
            "Leak type (B basivertebral, S segmental, C cortical, D disc, "
            "I instrument) and place",
            "Cement in millilitres; in brackets the machine's value where it differs",
            "Confidence of the level, or certainty of the leak type",
        )  # fmt: skip
        for place, tip in enumerate(tips):
            heading = QTableWidgetItem(COLUMNS[place])
            heading.setToolTip(tip)
            table.setHorizontalHeaderItem(place, heading)
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(22)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        table.setShowGrid(False)
        table.setWordWrap(False)
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        for place in range(len(COLUMNS)):
            header.setSectionResizeMode(place, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(TYPE_COLUMN, QHeaderView.ResizeMode.Stretch)
        table.itemSelectionChanged.connect(self._selected)

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(4)
        for name, text, tip in (
            ("accept", "Accept  A", "The finding is right; goes to the next open one"),
            ("modify", "Modify  M", "Correct type, level or place of this finding"),
            ("reject", "Reject  R", "The finding is wrong: choose the reason"),
            ("next_open", "Next open  N", "Go to the next finding not judged yet"),
        ):
            button = QPushButton(text)
            button.setToolTip(tip)
            button.setObjectName(f"cemscope {name}")
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.clicked.connect(lambda _=False, name=name: self.asked.emit(name))
            row.addWidget(button)
            self._judging.append(button)
        return row

    def set_read_only(self) -> None:
        """Let the reader look at the findings, but no longer judge them."""
        for button in self._judging[:3]:
            button.setEnabled(False)

    @property
    def rows(self) -> tuple[FindingRow, ...]:
        """Findings as they are shown."""
        return self._rows

    def fill(self, rows: Sequence[FindingRow], selected: FindingId | None) -> None:
        """Show findings and which one is looked at."""
        self._filling = True
        try:
            self._rows = tuple(rows)
            self.table.setRowCount(len(rows))
            for place, row in enumerate(rows):
                self._fill_row(place, row)
            judged = sum(row.decision != "open" for row in rows)
            self.progress.setMaximum(max(1, len(rows)))
            self.progress.setValue(judged)
            left = len(rows) - judged
            self.progress.setFormat(
                f"{judged} of {len(rows)} judged"
                + (f", {left} open" if left else ": complete")
            )
            self._select(selected)
        finally:
            self._filling = False

    def _fill_row(self, place: int, row: FindingRow) -> None:
        sign, colour, meaning = MARKS[row.decision]
        note = f"{meaning}: {row.reason}" if row.reason else meaning
        texts = (
            sign, row.level, row.title, row.type_text, volume_text(row), row.certainty
        )  # fmt: skip
        for column, text in enumerate(texts):
            item = QTableWidgetItem(text)
            item.setToolTip(note if column == 0 else f"{row.detail}\n{note}")
            if column == 0:
                item.setForeground(QBrush(QColor(colour)))
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
            if column == ML_COLUMN:
                item.setTextAlignment(
                    Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                )
                if row.changed:
                    item.setForeground(QBrush(QColor(MARKS["modified"][1])))
            self.table.setItem(place, column, item)

    def _select(self, selected: FindingId | None) -> None:
        for place, row in enumerate(self._rows):
            if row.finding == selected:
                self.table.selectRow(place)
                self.table.scrollTo(self.table.model().index(place, 0))
                self._show_detail(row)
                return
        self.table.clearSelection()
        self.detail.setText("Choose a finding, or press N for the first open one.")

    def _show_detail(self, row: FindingRow) -> None:
        sign, colour, meaning = MARKS[row.decision]
        note = f"{meaning}: {row.reason}" if row.reason else meaning
        lines = row.detail.replace("\n", "<br>")
        self.detail.setText(
            f"<b>{row.level} {row.title.lower()}</b> "
            f"<span style='color:{colour}'>{sign} {note}</span><br>{lines}"
        )

    def _selected(self) -> None:
        if self._filling:
            return
        places = {index.row() for index in self.table.selectedIndexes()}
        if places:
            self.chosen.emit(self._rows[min(places)].finding)
