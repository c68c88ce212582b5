"""Print the JSON Schema of ``report.json``.

Regenerate the committed copy with
``python -m cemscope_pipelines.report_schema > docs/schema/report.schema.json``.
"""

import json
import sys

from cemscope_pipelines.report import report_json_schema


def schema_text() -> str:
    """Text of ``docs/schema/report.schema.json``."""
    return json.dumps(report_json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
