"""Rewrites the golden contracts: ``python -m golden [CONTRACT ...]``, all of them by default."""

import sys

from golden.contracts import CONTRACTS, expected_file


def main(names: list[str]) -> None:
    for name in names or list(CONTRACTS):
        path = expected_file(name)
        path.parent.mkdir(exist_ok=True)
        text = CONTRACTS[name]()
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"wrote {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
