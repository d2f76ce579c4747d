#!/usr/bin/env python3
"""Writes dashboards/*.json anew from the boards described here and the thresholds in rules/.

    python3 -m venv target/tools/dashboards
    target/tools/dashboards/bin/pip install -r tools/dashboards/requirements.txt
    target/tools/dashboards/bin/python tools/dashboards/make.py [FOLDER]
"""

import json
import os
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder

import boards_machine
import boards_ml
import boards_people
import boards_self
import kit

BOARDS = boards_people.BOARDS + boards_machine.BOARDS + boards_ml.BOARDS + boards_self.BOARDS


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(kit.ROOT, "dashboards")
    os.makedirs(folder, exist_ok=True)
    for board in BOARDS:
        path = os.path.join(folder, board.uid.removeprefix("outrigger-") + ".json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(kit.document(board), file, cls=JSONEncoder, indent=1, ensure_ascii=False)
            file.write("\n")
    print(f"{len(BOARDS)} dashboards in {folder}")


if __name__ == "__main__":
    main()
