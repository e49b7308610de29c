"""Prints line coverage by crate from llvm-cov's JSON. Exits with 1 if a figure is below its limit."""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIMIT_OF_ALL = 85.0
LIMIT_OF_RULES = 95.0
# Both state machines, and all code that computes money.
RULES = "crates/domain/src/"


def crate(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).parts
    return "/".join(parts[: 2 if parts[0] == "crates" else 1])


def main() -> int:
    data = json.load(open(sys.argv[1]))["data"][0]
    counts: dict[str, list[int]] = {}
    for file in data["files"]:
        path = pathlib.Path(file["filename"])
        if not path.is_relative_to(ROOT):
            continue
        lines = file["summary"]["lines"]
        names = [crate(path), "all"]
        if str(path.relative_to(ROOT)).startswith(RULES):
            names.append("state machines and money")
        for name in names:
            total = counts.setdefault(name, [0, 0])
            total[0] += lines["covered"]
            total[1] += lines["count"]
    failed = False
    for name, (covered, count) in sorted(counts.items(), key=lambda item: (item[0] in ("all", "state machines and money"), item[0])):
        per_cent = 100.0 * covered / max(count, 1)
        limit = {"all": LIMIT_OF_ALL, "state machines and money": LIMIT_OF_RULES}.get(name)
        below = limit is not None and per_cent < limit
        failed |= below
        print(f"{name:28} {covered:6} of {count:6} lines  {per_cent:5.1f} %{f'  BELOW {limit} %' if below else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
